import { AttachedGuest } from "./attached-guest.ts";
import { argumentRangeError, invalidOption, XFilterError } from "./errors.ts";
import type { Guest } from "./guest.ts";
import { runJob } from "./job.ts";
import { checkKernelFiles, type KernelFiles, prepareKernelFiles } from "./kernel-files.ts";
import { checkMemoryMap, type MemoryMapEntry } from "./memory-map.ts";
import { loadNative, type NativeAttachOptions } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";
import { Pauses } from "./pause/pauses.ts";
import { liveSource } from "./sources/qemu.ts";
import { parseTarget, type QemuSource, type Target, type VmcoreSource } from "./sources/target.ts";

/** How to attach. Every field may be left out. */
export interface IntrospectOptions extends KernelFiles {
  /** Stops the search for the kernel; `introspect` then rejects with `signal.reason`. */
  readonly signal?: AbortSignalLike | undefined;
  /**
   * Where the guest's memory lies in the file, for a raw file in another order than QEMU's. Default: by the file's
   * format. The pieces must not overlap, and what they leave out the guest does not have.
   */
  readonly memoryMap?: readonly MemoryMapEntry[] | undefined;
  /** Milliseconds that the search may take before it rejects with ATTACH_BUDGET: 1 to 600,000, default 60,000. */
  readonly attachBudgetMs?: number | undefined;
  /**
   * How a running guest is read. "validate", the default: it runs on, and what moved is read again. "pause": it is stopped
   * for each walk, by its QMP socket, which then has no room for another client.
   */
  readonly consistency?: "validate" | "pause" | undefined;
  /** Milliseconds after which a paused guest is resumed, and the walk rejects with PAUSE_BUDGET: default 1,000. */
  readonly pauseBudgetMs?: number | undefined;
  /** Milliseconds that one walk may take before it rejects with WALK_BUDGET: 1 to 600,000, default 10,000. */
  readonly walkBudgetMs?: number | undefined;
}

const DEFAULT_ATTACH_BUDGET_MS = 60_000;
const DEFAULT_WALK_BUDGET_MS = 10_000;
const DEFAULT_PAUSE_BUDGET_MS = 1_000;
const MAX_BUDGET_MS = 600_000;

const OPTIONS = [
  ...["signal", "types", "symbols", "profile", "memoryMap"],
  ...["consistency", "attachBudgetMs", "walkBudgetMs", "pauseBudgetMs"],
];

/**
 * Attaches to a guest: opens its memory read-only, finds the kernel in it and resolves where everything lies.
 *
 * The guest needs no preparation and the caller no configuration. The search runs on a thread of its own.
 *
 * @param target - an object, or the same as a string: a path, `vmcore:PATH`, `qemu:PATH` or `qemu:pid:PID`
 * @returns the guest, which holds the image or the running QEMU's memory and monitor open until `close()`
 * @throws XFilterError with a `code`: what went wrong with the image, its kernel or the addon
 * @throws TypeError or RangeError with the `code` ERR_INVALID_TARGET or ERR_INVALID_OPTION: bad arguments
 * @throws `signal.reason` when aborted
 */
export async function introspect(target: string | Target, options: IntrospectOptions = {}): Promise<Guest> {
  const source = parseTarget(target);
  const { signal, files, memoryMap, attachBudgetMs, walkBudgetMs, pauseBudgetMs } = checkOptions(options);
  const pausable = pauseBudgetMs === undefined ? undefined : requirePausable(source);
  if (memoryMap && source.kind !== "vmcore") throw invalidOption("memoryMap is of images, not of guests that run");
  if (signal?.aborted) throw signal.reason;
  const addon = loadNative();
  const given: Omit<NativeAttachOptions, "path" | "process" | "running"> = {
    budgetMs: attachBudgetMs,
    ...(memoryMap && { memoryMap }),
    ...(await prepareKernelFiles(files, signal)),
  };
  const attach = (to: Pick<NativeAttachOptions, "path" | "process" | "running">, signal?: AbortSignalLike) =>
    runJob(
      () => addon.attach({ ...to, ...given }),
      signal,
      (guest) => guest.close(),
    );
  if (source.kind === "vmcore") return new AttachedGuest(await attach({ path: source.path }, signal), walkBudgetMs);

  const live = liveSource(source);
  const attachLive = async (running: boolean, signal?: AbortSignalLike) => {
    const native = await attach({ process: await live.locate(signal), running }, signal);
    if (pausable === undefined || pauseBudgetMs === undefined) return { native };
    // The guard takes the monitor over.
    live.close();
    try {
      const pauses = await Pauses.open(pausable, pauseBudgetMs);
      if (!signal?.aborted) return { native, pauses };
      await pauses.close();
      throw signal.reason;
    } catch (error) {
      native.close();
      throw error;
    }
  };
  try {
    const { native, pauses } = await attachLive(false, signal);
    const attachable = {
      changed: () => live.changed(),
      interfaces: (names?: readonly string[]) => live.interfaces(names),
      attach: (signal: AbortSignalLike) => attachLive(true, signal),
      close: () => live.close(),
    };
    return new AttachedGuest(native, walkBudgetMs, attachable, pauses);
  } catch (error) {
    live.close();
    throw error;
  }
}

/** The QMP socket by which the guest is stopped and resumed. */
function requirePausable(source: VmcoreSource | QemuSource): string {
  if (source.kind !== "qemu") throw invalidOption('consistency "pause" is for guests that run');
  if (source.qmp !== undefined) return source.qmp;
  throw new XFilterError(
    "PAUSE_UNAVAILABLE",
    "a guest that is given by its process id cannot be paused",
    "Give its QMP socket (qemu:PATH), or walk without a pause",
  );
}

function checkOptions(options: IntrospectOptions) {
  checkKeys(options, OPTIONS);
  const { signal, memoryMap, consistency = "validate", pauseBudgetMs = DEFAULT_PAUSE_BUDGET_MS } = options;
  const { attachBudgetMs = DEFAULT_ATTACH_BUDGET_MS, walkBudgetMs = DEFAULT_WALK_BUDGET_MS } = options;
  checkSignal(signal);
  checkBudget("attachBudgetMs", attachBudgetMs);
  checkBudget("walkBudgetMs", walkBudgetMs);
  checkBudget("pauseBudgetMs", pauseBudgetMs);
  if (consistency !== "validate" && consistency !== "pause") {
    throw argumentRangeError("ERR_INVALID_OPTION", 'consistency is "validate" or "pause".');
  }
  return {
    signal,
    files: checkKernelFiles(options),
    memoryMap: checkMemoryMap(memoryMap),
    attachBudgetMs,
    walkBudgetMs,
    /** undefined: the guest is not paused. */
    pauseBudgetMs: consistency === "pause" ? pauseBudgetMs : undefined,
  };
}

function checkBudget(name: string, milliseconds: number): void {
  if (typeof milliseconds !== "number") throw invalidOption(`${name} is not a number`);
  if (Number.isInteger(milliseconds) && milliseconds >= 1 && milliseconds <= MAX_BUDGET_MS) return;
  throw argumentRangeError(
    "ERR_INVALID_OPTION",
    `${name} is a whole number from 1 to ${MAX_BUDGET_MS}, not ${milliseconds}.`,
  );
}
