import type { Guest, Quality, Snapshot } from "../../lib/index.ts";
import type { LiveGuest } from "../../vmcore-fixtures/live.ts";
import { ChurnJudge, type Findings, parseLongLived } from "./churn.ts";

type Counted = "retries" | "torn" | "abandoned" | "badPointers" | "limited";

/** How many findings in how many walks. */
export interface Count {
  total: number;
  walks: number;
}

/** What many walks over a churning guest came to. */
export interface ChurnTally {
  walks: number;
  seconds: number;
  /** Walks that were rejected, by code. */
  errors: Record<string, number>;
  findings: Record<keyof Findings, Count>;
  /** The first of the findings. */
  examples: string[];
  quality: Record<Counted, Count & { most: number }>;
  /** Milliseconds of each walk, in order. */
  elapsed: number[];
  /** Processes that were seen and were not there at the first walk: that the churn went on. */
  processes: number;
}

const EXAMPLES = 20;

export interface ChurnRun {
  /** Ends after so many walks, or so many seconds, whatever comes first; but not before `atLeast` walks. */
  walks: number;
  seconds: number;
  atLeast: number;
  progress?: (tally: ChurnTally) => void;
}

function emptyTally(): ChurnTally {
  const count = () => ({ total: 0, walks: 0 });
  const quality = () => ({ ...count(), most: 0 });
  return {
    ...{ walks: 0, seconds: 0, errors: {}, examples: [], elapsed: [], processes: 0 },
    findings: { falseAttributions: count(), missing: count(), untold: count(), discrepancies: count() },
    quality: { retries: quality(), torn: quality(), abandoned: quality(), badPointers: quality(), limited: quality() },
  };
}

function add(tally: ChurnTally, { quality }: Snapshot, findings: Findings): void {
  tally.elapsed.push(quality.elapsedNs / 1e6);
  for (const [name, found] of Object.entries(findings) as [keyof Findings, string[]][]) {
    if (found.length === 0) continue;
    tally.findings[name].total += found.length;
    tally.findings[name].walks++;
    tally.examples.push(
      ...found.slice(0, EXAMPLES - tally.examples.length).map((text) => `walk ${tally.walks}, ${name}: ${text}`),
    );
  }
  for (const [name, count] of Object.entries(tally.quality)) {
    const value = quality[name as Counted & keyof Quality];
    count.total += value;
    count.most = Math.max(count.most, value);
    if (value > 0) count.walks++;
  }
}

/** Walks over a guest while it churns; churning begins and ends here. */
export async function walkUnderChurn(live: LiveGuest, guest: Guest, run: ChurnRun): Promise<ChurnTally> {
  const before = await live.truth();
  const judge = new ChurnJudge(parseLongLived(await live.command("churn start")), before);
  const tally = emptyTally();
  const seen = new Set<bigint>();
  let atFirst: number | undefined;
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  try {
    for (; tally.walks < run.walks && (seconds() < run.seconds || tally.walks < run.atLeast); tally.walks++) {
      try {
        const snapshot = await guest.snapshot();
        add(tally, snapshot, judge.judge(snapshot));
        for (const { startTime } of snapshot.processes) seen.add(startTime);
        atFirst ??= seen.size;
      } catch (error) {
        const code = String((error as { code?: unknown }).code ?? error);
        tally.errors[code] = (tally.errors[code] ?? 0) + 1;
      }
      if (tally.walks % 100 === 99) run.progress?.(tally);
    }
  } finally {
    await live.command("churn stop");
  }
  tally.seconds = seconds();
  tally.processes = seen.size - (atFirst ?? 0);
  return tally;
}
