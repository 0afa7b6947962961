import type { Cpu, Snapshot } from "../../lib/index.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";

/** What is wrong with what a guest's CPUs are said to have run: each an idle task or one of the guest's processes. */
export function cpuDifferences(truth: Truth, cpus: readonly Cpu[], snapshot: Snapshot): string[] {
  const pids = new Set(truth.processes.map(({ pid }) => pid));
  const numbers = new Set<number | null>();
  return cpus.flatMap(({ task }, index) => {
    const wrong = (what: string) => [`cpu ${index}: ${what}`];
    if (!task) return wrong("its task was not found");
    if (numbers.has(task.cpu)) return wrong(`another one is number ${task.cpu} too`);
    numbers.add(task.cpu);
    if (!task.listed) return wrong(`${task.comm} is not in the list that init_task begins`);
    if (task.processes !== snapshot.processes.length) return wrong(`its list has ${task.processes} processes`);
    if (task.pid === 0) return task.comm === `swapper/${task.cpu}` ? [] : wrong(`pid 0 is called ${task.comm}`);
    if (!pids.has(task.pid)) return wrong(`runs ${task.pid} (${task.comm}), which is not in the truth`);
    const process = snapshot.process(task.pid);
    if (task.tid !== task.pid || !process) return [];
    const same = process.task === task.address && process.comm === task.comm;
    return same ? [] : wrong(`says of ${task.pid} other than the list does`);
  });
}
