import type { NativeDiscrepancies } from "./native.ts";
import type { Process } from "./process.ts";

const DISCREPANCY_KINDS = ["not-in-task-list", "not-in-pid-table"] as const;

/**
 * Which of the kernel's two lists of processes lacks one. `not-in-task-list`: the pid table has it, the list from
 * `init_task` has not, which is how rootkits hide processes. `not-in-pid-table`: the other way round.
 */
export type DiscrepancyKind = (typeof DISCREPANCY_KINDS)[number];

/** A process that one of the kernel's lists has and the other has not: somebody hides it, or the memory is torn. */
export interface Discrepancy {
  readonly kind: DiscrepancyKind;
  /** The process. It is among `snapshot.processes` like any other. */
  readonly process: Process;
}

/** @internal */
export function toDiscrepancies(
  { count, process, kind }: NativeDiscrepancies,
  processAt: (row: number) => Process,
): Discrepancy[] {
  return Array.from({ length: count }, (_, i) => ({
    kind: DISCREPANCY_KINDS[kind[i]!]!,
    process: processAt(process[i]!),
  }));
}
