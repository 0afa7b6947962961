import { argumentRangeError, invalidOption } from "./errors.ts";
import type { NativeChanges, NativeDifference } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";
import type { Process } from "./process.ts";
import type { Quality } from "./quality.ts";
import type { LazyRows } from "./rows.ts";
import { WalkedSnapshot } from "./snapshot.ts";
import type { Socket } from "./socket.ts";

/** How to watch. */
export interface WatchOptions {
  /** Milliseconds from the start of one poll to the start of the next: 1 to 3,600,000, default 1,000. */
  readonly intervalMs?: number | undefined;
  /** Ends the watch: the iteration then rejects with `signal.reason`. */
  readonly signal?: AbortSignalLike | undefined;
}

/** What came, went and changed of one kind of thing. */
export interface Changes<T> {
  readonly came: readonly T[];
  readonly gone: readonly T[];
  /** The same thing, as it was and as it is. */
  readonly changed: readonly { readonly before: T; readonly after: T }[];
}

/** What changed from one snapshot of a guest to the next. */
export interface Difference {
  /** Whether it is the first, from nothing: all that there is came. */
  readonly initial: boolean;
  /**
   * Whether the guest had to be attached to again since the poll before: it was reset, jumped into another kernel, or got
   * other RAM. What changed is told all the same; after a reset, all that there was is gone.
   */
  readonly reattached: boolean;
  /** Milliseconds since 1970 at the end of the poll. */
  readonly time: number;
  /** Processes that started and ended, and those that changed their credentials, name, network namespace or cgroup. */
  readonly processes: Changes<Process>;
  /** Sockets that were opened and closed, and those that changed their state, addresses, uid or owners. */
  readonly sockets: Changes<Socket>;
  /** Polls that were left out before this one, because the one before took longer than the interval. */
  readonly missedPolls: number;
  /** How good the reading of the poll was; null where nothing changed, and there is only `missedPolls` or `reattached` to tell of. */
  readonly quality: Quality | null;
}

const DEFAULT_INTERVAL_MS = 1_000;
const MAX_INTERVAL_MS = 3_600_000;

/** @internal Throws where the options are no WatchOptions. */
export function checkWatchOptions(options: WatchOptions) {
  checkKeys(options, ["intervalMs", "signal"]);
  const { intervalMs = DEFAULT_INTERVAL_MS, signal } = options;
  checkSignal(signal);
  if (typeof intervalMs !== "number") throw invalidOption("intervalMs is not a number");
  if (!(intervalMs >= 1 && intervalMs <= MAX_INTERVAL_MS)) {
    const why = `intervalMs is a number from 1 to ${MAX_INTERVAL_MS}, not ${intervalMs}.`;
    throw argumentRangeError("ERR_INVALID_OPTION", why);
  }
  return { intervalMs, signal };
}

/** @internal */
export interface Poll {
  /** null: nothing changed. */
  readonly result: NativeDifference | null;
  readonly pauseMs: number;
  readonly reattached: boolean;
}

/**
 * @internal Polls at every interval and yields what changed. A poll that is due while another one runs, or while the
 * consumer is busy, is not made: the next one covers its time.
 *
 * @param sleep - rejects when the watch is to end
 */
export async function* differences(
  poll: () => Promise<Poll>,
  sleep: (milliseconds: number) => Promise<void>,
  intervalMs: number,
): AsyncGenerator<Difference, void, undefined> {
  let initial = true;
  let missedPolls = 0;
  for (let due = performance.now(); ; ) {
    const { result: native, pauseMs, reattached } = await poll();
    const missedBefore = missedPolls;
    missedPolls = Math.max(0, Math.ceil((performance.now() - due) / intervalMs) - 1);
    if (native || reattached || missedBefore > 0) {
      yield { initial, reattached, missedPolls: missedBefore, ...toDifference(native, pauseMs) };
    }
    initial = false;
    // The first time that is due and has not passed: the consumer may have been busy, too.
    due += intervalMs * Math.max(1, Math.ceil((performance.now() - due) / intervalMs));
    await sleep(Math.max(0, due - performance.now()));
  }
}

function toDifference(
  native: NativeDifference | null,
  pauseMs: number,
): Pick<Difference, "time" | "processes" | "sockets" | "quality"> {
  const before = native && new WalkedSnapshot(native.before);
  const after = native && new WalkedSnapshot(native.after, pauseMs);
  return {
    time: Date.now(),
    processes: toChanges(native?.processes, before?.processes, after?.processes),
    sockets: toChanges(native?.sockets, before?.sockets, after?.sockets),
    quality: after?.quality ?? null,
  };
}

function toChanges<T>(
  rows: NativeChanges | undefined,
  before: LazyRows<T> | null | undefined,
  after: LazyRows<T> | null | undefined,
): Changes<T> {
  if (!rows || !before || !after) return { came: [], gone: [], changed: [] };
  return {
    came: Array.from(rows.came, (row) => after.row(row)),
    gone: Array.from(rows.gone, (row) => before.row(row)),
    changed: Array.from(rows.changedBefore, (row, i) => ({
      before: before.row(row),
      after: after.row(rows.changedAfter[i]!),
    })),
  };
}
