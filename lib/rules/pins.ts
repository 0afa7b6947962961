import type { Process } from "../process.ts";
import type { Rule } from "./rule.ts";
import { MISSING_MAX, type ProcessId, type RuleState } from "./state.ts";
import { entries } from "./text.ts";

/** @internal The processes of a snapshot, by pid and by parent. */
export class ProcessIndex {
  readonly #byPid = new Map<number, Process>();
  #children: Map<number, Process[]> | undefined;

  constructor(processes: Iterable<Process>) {
    // Of two with one pid (a guest that lies), the first counts, as in `snapshot.process()`.
    for (const process of processes) if (!this.#byPid.has(process.pid)) this.#byPid.set(process.pid, process);
  }

  get(pid: number): Process | undefined {
    return this.#byPid.get(pid);
  }

  pids(): number[] {
    return [...this.#byPid.keys()];
  }

  childrenOf(pid: number): readonly Process[] {
    if (this.#children === undefined) {
      this.#children = new Map();
      for (const process of this.#byPid.values()) {
        if (process.ppid === null) continue;
        const siblings = this.#children.get(process.ppid);
        if (siblings) siblings.push(process);
        else this.#children.set(process.ppid, [process]);
      }
    }
    return this.#children.get(pid) ?? [];
  }
}

/** @internal Which processes a rule's `pid` and `descendants` mean, and what of it has to be remembered. */
export interface Pinned {
  readonly meant: ReadonlySet<string>;
  readonly pins: ProcessId[];
  readonly descendants: RuleState["descendants"];
}

/** @internal A process among all that ran since the boot. */
export function processKey(pid: number, startTime: bigint | string): string {
  return `${pid}@${startTime}`;
}

/** @internal `whole`: nothing was left out of the snapshot. */
export function pin(rule: Rule, before: RuleState | undefined, processes: ProcessIndex, whole: boolean): Pinned {
  const meant = new Set<string>();
  const pins = new Map((before?.pins ?? []).map((id) => [id.pid, id]));
  for (const named of entries(rule.pid)) {
    if (typeof named === "object") {
      meant.add(processKey(named.pid, named.startTime));
      continue;
    }
    const process = processes.get(named);
    if (process && !pins.has(named)) pins.set(named, { pid: named, startTime: String(process.startTime) });
  }
  for (const { pid, startTime } of pins.values()) meant.add(processKey(pid, startTime));
  const sorted = [...pins.values()].sort((a, b) => a.pid - b.pid);
  if (!rule.descendants) return { meant, pins: sorted, descendants: [] };
  const descendants = follow(meant, before?.descendants ?? [], processes, whole);
  for (const { pid, startTime } of descendants) meant.add(processKey(pid, startTime));
  return { meant, pins: sorted, descendants };
}

/**
 * Once a descendant, always one: who was seen as a child stays known when its parent ends and init takes its place. A child whose
 * whole line of parents came and went between two snapshots is not found.
 */
function follow(
  roots: ReadonlySet<string>,
  before: RuleState["descendants"],
  processes: ProcessIndex,
  whole: boolean,
): RuleState["descendants"] {
  const known = new Map<string, RuleState["descendants"][number]>();
  for (const { pid, startTime, missing } of before) {
    const lives = String(processes.get(pid)?.startTime) === startTime;
    const polls = lives ? 0 : missing + 1;
    if (polls === 0 || (!whole && polls <= MISSING_MAX)) {
      known.set(processKey(pid, startTime), { pid, startTime, missing: polls });
    }
  }
  const queue = [...roots, ...known.keys()].flatMap((key) => {
    const process = processes.get(Number.parseInt(key, 10));
    return process && processKey(process.pid, process.startTime) === key ? [process] : [];
  });
  for (let parent = queue.pop(); parent; parent = queue.pop()) {
    for (const child of processes.childrenOf(parent.pid)) {
      const { pid, startTime } = child;
      const key = processKey(pid, startTime);
      // A child is younger; what is older has a parent that ended, and whose pid was given again.
      if (startTime < parent.startTime || roots.has(key) || known.has(key)) continue;
      known.set(key, { pid, startTime: String(startTime), missing: 0 });
      queue.push(child);
    }
  }
  return [...known.values()].sort((a, b) => a.pid - b.pid || (BigInt(a.startTime) < BigInt(b.startTime) ? -1 : 1));
}
