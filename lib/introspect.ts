import { argumentRangeError, invalidOption } from "./errors.ts";
import { AttachedGuest, type Guest } from "./guest.ts";
import { checkKernelFiles, type KernelFiles, prepareKernelFiles } from "./kernel-files.ts";
import { checkMemoryMap, type MemoryMapEntry } from "./memory-map.ts";
import { loadNative, type NativeAttachOptions, runJob } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";
import { openLive } from "./sources/qemu.ts";
import { parseTarget, type Target, type VmcoreSource } from "./sources/target.ts";

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
  /** Milliseconds that one walk may take before it rejects with WALK_BUDGET: 1 to 600,000, default 10,000. */
  readonly walkBudgetMs?: number | undefined;
}

const DEFAULT_ATTACH_BUDGET_MS = 60_000;
const DEFAULT_WALK_BUDGET_MS = 10_000;
const MAX_BUDGET_MS = 600_000;

/**
 * Attaches to a guest: opens its memory read-only, finds the kernel in it and resolves where everything lies.
 *
 * The guest needs no preparation and the caller no configuration. The search runs on a thread of its own.
 *
 * @param target - an object, or the same as a string: a path or `vmcore:PATH`
 * @returns the guest, which holds the image open until `close()`
 * @throws XFilterError with a `code`: what went wrong with the image, its kernel or the addon
 * @throws TypeError or RangeError with the `code` ERR_INVALID_TARGET or ERR_INVALID_OPTION: bad arguments
 * @throws `signal.reason` when aborted
 */
export async function introspect(target: string | Target, options: IntrospectOptions = {}): Promise<Guest> {
  const source = parseTarget(target);
  const { signal, files, memoryMap, attachBudgetMs, walkBudgetMs } = checkOptions(options);
  if (signal?.aborted) throw signal.reason;
  const addon = loadNative();
  const given = await prepareKernelFiles(files, signal);
  const live = source.kind === "qemu" ? await openLive(source) : undefined;
  const attach: NativeAttachOptions = {
    ...(live ? { process: live.process } : { path: (source as VmcoreSource).path }),
    budgetMs: attachBudgetMs,
    ...(memoryMap && { memoryMap }),
    ...given,
  };
  try {
    const native = await runJob(
      () => addon.attach(attach),
      signal,
      (guest) => guest.close(),
    );
    return new AttachedGuest(native, walkBudgetMs, live?.qmp);
  } catch (error) {
    live?.qmp?.close();
    throw error;
  }
}

function checkOptions(options: IntrospectOptions) {
  checkKeys(options, ["signal", "types", "symbols", "profile", "memoryMap", "attachBudgetMs", "walkBudgetMs"]);
  const { signal, memoryMap } = options;
  const { attachBudgetMs = DEFAULT_ATTACH_BUDGET_MS, walkBudgetMs = DEFAULT_WALK_BUDGET_MS } = options;
  checkSignal(signal);
  checkBudget("attachBudgetMs", attachBudgetMs);
  checkBudget("walkBudgetMs", walkBudgetMs);
  return {
    signal,
    files: checkKernelFiles(options),
    memoryMap: checkMemoryMap(memoryMap),
    attachBudgetMs,
    walkBudgetMs,
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
