import { hex } from "./address.ts";
import type { NativeCpu } from "./native.ts";

/** What one virtual CPU ran when the image was taken. `comm` comes from the guest: escape it where you print it. */
export interface Cpu {
  /** Place in the image's order of vCPUs, from 0 on. */
  readonly index: number;
  /** Whether it ran a program or the kernel. */
  readonly mode: "user" | "kernel";
  /** Address of the next instruction. */
  readonly rip: bigint;
  /** The task that it ran, or null where its registers lead to none: it was not started yet, or was in firmware. */
  readonly task: CpuTask | null;
  toJSON(): CpuJson;
}

/** A task that a CPU ran. */
export interface CpuTask {
  /** The kernel's own number of the CPU. */
  readonly cpu: number;
  /** Process, 0 when the CPU is idle. */
  readonly pid: number;
  /** Thread: its pid of its own, the process's in the main thread. */
  readonly tid: number;
  readonly comm: string;
  /** Guest virtual address of the `task_struct`. */
  readonly address: bigint;
  /**
   * How many processes there are around the kernel's task list, begun at this task. Without false play as many as in a
   * snapshot.
   */
  readonly processes: number;
  /** Whether that list is the one that begins at `init_task`. A task that is in another one has been hidden. */
  readonly listed: boolean;
}

/** A CPU in JSON: addresses are hex strings. */
export interface CpuJson extends Omit<Cpu, "rip" | "task" | "toJSON"> {
  readonly rip: string;
  readonly task: (Omit<CpuTask, "address"> & { readonly address: string }) | null;
}

/** @internal */
export function toCpu({ index, userMode, rip, task }: NativeCpu): Cpu {
  const facts = { index, mode: userMode ? ("user" as const) : ("kernel" as const), rip, task };
  const toJSON = (): CpuJson => ({
    ...facts,
    rip: hex(rip),
    task: task && { ...task, address: hex(task.address) },
  });
  // Not enumerable: console.log shows facts only.
  return Object.defineProperty({ ...facts, toJSON }, "toJSON", { enumerable: false });
}
