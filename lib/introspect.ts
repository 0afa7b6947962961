import { AttachedGuest } from "./attached-guest.ts";
import { argumentRangeError, invalidOption, XFilterError } from "./errors.ts";
import type { Guest } from "./guest.ts";
import { runJob } from "./job.ts";
import { checkKernelFiles, type KernelFiles, prepareKernelFiles } from "./kernel-files.ts";
import { checkMemoryMap, type MemoryMapEntry } from "./memory-map.ts";
import { loadNative, type NativeAttachOptions, type NativeFiles, type NativeGuest } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";
import { Pauses } from "./pause/pauses.ts";
import type { LiveSource, Place } from "./sources/live-source.ts";
import { qemuSource } from "./sources/qemu.ts";
import { parseTarget, type Target } from "./sources/target.ts";
import { xenSource } from "./sources/xen.ts";

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
   * for each walk: by its QMP socket, which then has no room for another client, or by Xen.
   */
  readonly consistency?: "validate" | "pause" | undefined;
  /** Milliseconds after which a paused guest is resumed, and the walk rejects with PAUSE_BUDGET: default 1,000. */
  readonly pauseBudgetMs?: number | undefined;
  /** Milliseconds that one walk may take before it rejects with WALK_BUDGET: 1 to 600,000, default 10,000. */
  readonly walkBudgetMs?: number | undefined;
  /**
   * Of a domain of Xen: whether its pages stay mapped from walk to walk, which spares most of the hypercalls. A page that stays mapped stays
   * the domain's although it gave it back, until the next walk notices. Default: true.
   */
  readonly keepMappings?: boolean | undefined;
}

const DEFAULT_ATTACH_BUDGET_MS = 60_000;
const DEFAULT_WALK_BUDGET_MS = 10_000;
const DEFAULT_PAUSE_BUDGET_MS = 1_000;
const MAX_BUDGET_MS = 600_000;

const OPTIONS = [
  ...["signal", "types", "symbols", "profile", "memoryMap"],
  ...["consistency", "attachBudgetMs", "walkBudgetMs", "pauseBudgetMs", "keepMappings"],
];

/**
 * Attaches to a guest: opens its memory read-only, finds the kernel in it and resolves where everything lies.
 *
 * The guest needs no preparation and the caller no configuration. The search runs on a thread of its own.
 *
 * @param target - an object, or the same as a string: a path, `vmcore:PATH`, `qemu:PATH`, `qemu:pid:PID`, `xen:NAME` or `xen:ID`
 * @returns the guest, which holds the image, the running QEMU's memory and monitor, or the domain's mappings until `close()`
 * @throws XFilterError with a `code`: what went wrong with the image, its kernel or the addon
 * @throws TypeError or RangeError with the `code` ERR_INVALID_TARGET or ERR_INVALID_OPTION: bad arguments
 * @throws `signal.reason` when aborted
 */
export async function introspect(target: string | Target, options: IntrospectOptions = {}): Promise<Guest> {
  const source = parseTarget(target);
  const { signal, files, memoryMap, attachBudgetMs, walkBudgetMs, pauseBudgetMs, keepMappings } = checkOptions(options);
  const isImage = source.kind === "vmcore";
  if (isImage && pauseBudgetMs !== undefined) throw invalidOption('consistency "pause" is for guests that run');
  if (!isImage && memoryMap) throw invalidOption("memoryMap is of images, not of guests that run");
  if (source.kind !== "xen" && keepMappings !== undefined) throw invalidOption("keepMappings is of domains of Xen");
  if (signal?.aborted) throw signal.reason;
  const addon = loadNative();
  const given: Pick<NativeAttachOptions, "budgetMs" | "memoryMap" | keyof NativeFiles> = {
    budgetMs: attachBudgetMs,
    ...(memoryMap && { memoryMap }),
    ...(await prepareKernelFiles(files, signal)),
  };
  const attach = (to: Omit<NativeAttachOptions, keyof typeof given>, signal?: AbortSignalLike) =>
    runJob(
      () => addon.attach({ ...to, ...given }),
      signal,
      (guest) => guest.close(),
    );
  if (source.kind === "vmcore") return new AttachedGuest(await attach({ path: source.path }, signal), walkBudgetMs);
  const live = source.kind === "xen" ? xenSource(source, addon, keepMappings) : qemuSource(source);
  return attachToLive(live, attach, { signal, walkBudgetMs, pauseBudgetMs });
}

/** To a guest that runs. */
async function attachToLive(
  live: LiveSource,
  attachTo: (to: Place & { running: boolean }, signal?: AbortSignalLike) => Promise<NativeGuest>,
  { signal, walkBudgetMs, pauseBudgetMs }: Pick<CheckedOptions, "signal" | "walkBudgetMs" | "pauseBudgetMs">,
): Promise<Guest> {
  const attach = async (running: boolean, signal?: AbortSignalLike) => {
    const place = await live.locate(signal);
    const pausable = pauseBudgetMs === undefined ? undefined : live.pausable();
    const native = await attachTo({ ...place, running }, signal).catch((error: unknown) => {
      if (!running || !live.moves || !isGone(error)) throw error;
      throw new XFilterError("GUEST_CHANGED", "The guest ended while it was attached to", "Attach to it again", {
        cause: error,
      });
    });
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
    const { native, pauses } = await attach(false, signal);
    const attachable = {
      changed: () => live.changed(),
      interfaces: (names?: readonly string[]) => live.interfaces(names),
      attach: (signal: AbortSignalLike) => attach(true, signal),
      moves: live.moves,
      close: () => live.close(),
    };
    return new AttachedGuest(native, walkBudgetMs, attachable, pauses);
  } catch (error) {
    live.close();
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof XFilterError && error.code === "SOURCE_GONE";
}

type CheckedOptions = ReturnType<typeof checkOptions>;

function checkOptions(options: IntrospectOptions) {
  checkKeys(options, OPTIONS);
  const { signal, memoryMap, consistency = "validate", pauseBudgetMs = DEFAULT_PAUSE_BUDGET_MS } = options;
  const { attachBudgetMs = DEFAULT_ATTACH_BUDGET_MS, walkBudgetMs = DEFAULT_WALK_BUDGET_MS, keepMappings } = options;
  checkSignal(signal);
  checkBudget("attachBudgetMs", attachBudgetMs);
  checkBudget("walkBudgetMs", walkBudgetMs);
  checkBudget("pauseBudgetMs", pauseBudgetMs);
  if (keepMappings !== undefined && typeof keepMappings !== "boolean")
    throw invalidOption("keepMappings is not a boolean");
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
    keepMappings,
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
