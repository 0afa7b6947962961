import type { NativeKernel } from "../native.ts";

/** A kernel as the addon tells of it. */
export const KERNEL: NativeKernel = {
  ...{
    format: "elf",
    memoryBytes: 100663296n,
    architecture: "x86_64",
    release: "6.1.0",
    banner: "Linux version 6.1.0",
  },
  ...{
    pagingLevels: 4,
    kaslrOffset: 0x1a000000n,
    physBase: -0x1000000n,
    buildId: null,
    typesFrom: "guest",
    symbolsFrom: "guest",
  },
  ...{ missing: [], steps: [] },
} as const satisfies NativeKernel;
