import type { NativeKernel } from "./native.ts";

/** What was found out about a guest's kernel, and how. Strings come from the guest: escape them where you print them. */
export interface Kernel {
  /** Form of the memory image; "qemu" for a guest that runs. */
  readonly format: "elf" | "xen" | "lime" | "raw" | "qemu";
  /** Bytes of guest memory that the image holds, or the guest has. */
  readonly memoryBytes: bigint;
  readonly architecture: "x86_64";
  /** As `uname -r` prints it, "6.1.0-18-cloud-amd64". */
  readonly release: string;
  /** The kernel's `linux_banner`, "Linux version …". */
  readonly banner: string;
  readonly pagingLevels: 4 | 5;
  /** Bytes by which the kernel's virtual addresses are moved (KASLR); 0 without. */
  readonly kaslrOffset: bigint;
  /** The kernel's `phys_base`: where it lies in physical memory. May be negative; 0 of a paravirtual guest of Xen. */
  readonly physBase: bigint;
  /** GNU build id in hex, or null where the image tells none. */
  readonly buildId: string | null;
  /** Whose types resolved the layout: the guest's own BTF, or a file given as `types` or `profile`. */
  readonly typesFrom: "guest" | "file";
  /** Whose symbols were used: the guest's own kallsyms, or a file given as `symbols`, `types` or `profile`. */
  readonly symbolsFrom: "guest" | "file";
  /** Structure members that the types lack, and what each costs. Empty on a kernel that has everything. */
  readonly missing: readonly MissingMember[];
  /** How the kernel was found, in order. */
  readonly steps: readonly AttachStep[];
  toJSON(): KernelJson;
}

/** A structure member that the types lack. */
export interface MissingMember {
  /** "sock.sk_uid" */
  readonly member: string;
  /** The column that is null because of it. */
  readonly costs: string;
}

/** One step on the way from an image to a layout. */
export interface AttachStep {
  /** "memory", "kernel", "kallsyms", "btf" and "layout"; with files from outside "given" and "symbols". */
  readonly name: string;
  readonly how: string;
  readonly found: string;
  readonly elapsedNs: number;
}

/** A kernel in JSON: numbers of bytes are decimal strings, for `BigInt()`. */
export interface KernelJson extends Omit<Kernel, "memoryBytes" | "kaslrOffset" | "physBase" | "toJSON"> {
  readonly memoryBytes: string;
  readonly kaslrOffset: string;
  readonly physBase: string;
}

/** @internal */
export function toKernel(native: NativeKernel): Kernel {
  const { format, memoryBytes, architecture, release, banner, pagingLevels, kaslrOffset, physBase } = native;
  const { buildId, typesFrom, symbolsFrom, missing, steps } = native;
  const head = { format, memoryBytes, architecture, release, banner, pagingLevels, kaslrOffset, physBase };
  const tail = { buildId, typesFrom, symbolsFrom, missing, steps };
  const toJSON = (): KernelJson => ({
    ...head,
    memoryBytes: String(memoryBytes),
    kaslrOffset: String(kaslrOffset),
    physBase: String(physBase),
    ...tail,
  });
  // Not enumerable: console.log shows facts only.
  return Object.defineProperty({ ...head, ...tail, toJSON }, "toJSON", { enumerable: false });
}
