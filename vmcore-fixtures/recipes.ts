/** A guest to boot, freeze and dump. Kernel versions are never pinned: whatever the suite holds today is taken. */
export interface Recipe {
  readonly name: string;
  /** What it varies, in one line. */
  readonly varies: string;
  /** Debian suite whose kernel boots. */
  readonly suite: string;
  /** The suite's metapackage; what it depends on names today's kernel. */
  readonly kernelPackage: string;
  /** In QEMU's notation. */
  readonly memory: string;
  readonly machine: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly commandLine: string;
  /** Which of the guest's programs takes up the poses: guest-programs.ts. */
  readonly workload: "standard" | "big" | "second";
  /** What ran before in the same memory: nothing, a whole guest that was reset, or one that jumped into this one. */
  readonly after: "power-on" | "reset" | "kexec";
  /** Whether QEMU's ELF dump carries the kernel's VMCOREINFO note; the guest has to load qemu_fw_cfg for that. */
  readonly vmcoreinfo: boolean;
  /** What is overwritten in the dumps, wherever a copy lies; types go to types.btf first. */
  readonly scrubbed: readonly ("vmcoreinfo" | "btf")[];
  readonly dumps: readonly ("elf" | "raw")[];
}

const base = {
  kernelPackage: "linux-image-cloud-amd64",
  memory: "768M",
  machine: "q35",
  cpu: "max",
  cpus: 2,
  commandLine: "",
  workload: "standard",
  after: "power-on",
  vmcoreinfo: false,
  scrubbed: [],
  dumps: ["elf", "raw"],
} as const;

const bullseye = { ...base, suite: "bullseye" };
const bookworm = { ...base, suite: "bookworm" };
const trixie = { ...base, suite: "trixie" };
const sid = { ...base, suite: "sid" };

/** One for each kernel generation. Without `la57=off`, 6.1 and newer use 5 levels of page tables. */
export const baseRecipes: readonly Recipe[] = [
  { ...bullseye, name: "linux-5.10", varies: "4 levels; no note" },
  { ...bookworm, name: "linux-6.1", varies: "5 levels; note", vmcoreinfo: true },
  { ...trixie, name: "linux-6.12", varies: "4 levels (la57=off); no note", cpu: "max,la57=off" },
  { ...sid, name: "linux-7.2", varies: "5 levels; note", vmcoreinfo: true },
];

/** One circumstance each, on one kernel. */
export const variantRecipes: readonly Recipe[] = [
  { ...bookworm, name: "linux-6.1-nokaslr", varies: "no KASLR", commandLine: "nokaslr" },
  { ...trixie, name: "linux-6.12-pti", varies: "page tables of users kept apart", commandLine: "pti=on" },
  {
    ...sid,
    name: "linux-7.2-no-vmcoreinfo",
    varies: "no VMCOREINFO: neither note nor text",
    scrubbed: ["vmcoreinfo"],
  },
  {
    ...bullseye,
    name: "linux-5.10-no-vmcoreinfo",
    varies: "no VMCOREINFO, on a kernel that does not name its kallsyms there",
    scrubbed: ["vmcoreinfo"],
  },
  { ...bullseye, name: "linux-5.10-no-btf", varies: "no types: they come from outside", scrubbed: ["btf"] },
  { ...bookworm, name: "linux-6.1-4g-q35", varies: "4 GiB, of which q35 puts 2 below the hole", memory: "4G" },
  {
    ...trixie,
    name: "linux-6.12-4g-pc",
    varies: "4 GiB, of which i440fx puts 3 below the hole",
    memory: "4G",
    machine: "pc",
  },
  { ...sid, name: "linux-7.2-1cpu", varies: "one CPU", cpus: 1 },
  { ...trixie, name: "linux-6.12-rt", varies: "PREEMPT_RT", kernelPackage: "linux-image-rt-amd64" },
  { ...bookworm, name: "linux-6.1-reset", varies: "a kernel from before a reset lies in memory", after: "reset" },
  { ...trixie, name: "linux-6.12-kexec", varies: "a kernel from before a kexec lies in memory", after: "kexec" },
  {
    ...bookworm,
    name: "linux-6.1-big",
    varies: "3,000 processes, 22,000 files, 13,000 sockets",
    memory: "2G",
    workload: "big",
    vmcoreinfo: true,
  },
  ...[bullseye, bookworm, trixie, sid].map((suite, index) => ({
    ...suite,
    name: `linux-${["5.10", "6.1", "6.12", "7.2"][index]}-second`,
    varies: "another workload: busybox's daemons, and what servers do",
    workload: "second" as const,
  })),
];

/** The one that is committed. Freed pages full of zeros are what makes it small enough for git. */
const small: Recipe = {
  ...bookworm,
  name: "linux-6.1-small",
  varies: "96 MB",
  memory: "96M",
  vmcoreinfo: true,
  commandLine: "init_on_free=1",
  dumps: ["elf"],
};

export const recipes: readonly Recipe[] = [...baseRecipes, small, ...variantRecipes];

/** Packages of the same suite whose programs the guest runs. */
export function programPackagesOf(recipe: Recipe): string[] {
  return recipe.workload === "second" ? ["busybox-static"] : [];
}

/** Modules of the guest, where the kernel has not built them in: truth's way out, a device that swallows packets. */
export function modulesOf(recipe: Recipe): string[] {
  const sockets = ["fou", "vsock", "crc32c_generic", "sctp", "dccp_ipv4", "smc"];
  return ["virtio_pci", "virtio_console", "dummy", ...sockets, ...(recipe.vmcoreinfo ? ["qemu_fw_cfg"] : [])];
}
