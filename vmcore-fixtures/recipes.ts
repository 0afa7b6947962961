/** A guest to boot, freeze and dump. Kernel versions are never pinned: whatever the suite holds today is taken. */
export interface Recipe {
  readonly name: string;
  /** Debian suite whose kernel boots. */
  readonly suite: string;
  /** The suite's metapackage; what it depends on names today's kernel. */
  readonly kernelPackage: string;
  /** In QEMU's notation. */
  readonly memory: string;
  readonly machine: string;
  readonly cpu: string;
  readonly commandLine: string;
  /** Whether QEMU's ELF dump carries the kernel's VMCOREINFO note; the guest has to load qemu_fw_cfg for that. */
  readonly vmcoreinfo: boolean;
  readonly dumps: readonly ("elf" | "raw")[];
}

const base = {
  kernelPackage: "linux-image-cloud-amd64",
  memory: "768M",
  machine: "q35",
  cpu: "max",
  commandLine: "",
  vmcoreinfo: false,
  dumps: ["elf", "raw"],
} as const;

/** One for each kernel generation, plus the small one that is committed. Without `la57=off`, 6.1 and newer use 5 levels. */
export const recipes: readonly Recipe[] = [
  { ...base, name: "linux-5.10", suite: "bullseye" },
  { ...base, name: "linux-6.1", suite: "bookworm", vmcoreinfo: true },
  { ...base, name: "linux-6.12", suite: "trixie", cpu: "max,la57=off" },
  { ...base, name: "linux-7.2", suite: "sid", vmcoreinfo: true },
  {
    ...base,
    name: "linux-6.1-small",
    suite: "bookworm",
    memory: "96M",
    vmcoreinfo: true,
    /* Freed pages full of zeros are what makes the image small enough for git. */
    commandLine: "init_on_free=1",
    dumps: ["elf"],
  },
];

export const baseRecipeNames = ["linux-5.10", "linux-6.1", "linux-6.12", "linux-7.2"] as const;

/** Modules of the guest, where the kernel has not built them in: truth's way out, a device that swallows packets. */
export function modulesOf(recipe: Recipe): string[] {
  return [
    "virtio_pci",
    "virtio_console",
    "dummy",
    "fou",
    "vsock",
    "sctp",
    ...(recipe.vmcoreinfo ? ["qemu_fw_cfg"] : []),
  ];
}
