import type { HostInterface } from "../../lib/index.ts";

/** What `inside.ts` is told. */
export interface Inside {
  /** Arguments of `ip`, before QEMU starts. */
  before?: readonly string[];
  /** Arguments of QEMU. */
  qemu: string;
  /** Arguments of `ip`, when QEMU has made its devices. */
  after?: readonly string[];
  /** How the devices are asked for. */
  by: "qmp" | "pid" | "names";
  names?: readonly string[];
}

/** What it answers. */
export type Outcome = { interfaces: HostInterface[] } | { code: string; message: string };
