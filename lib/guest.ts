import type { Cpu } from "./cpu.ts";
import type { Kernel } from "./kernel.ts";
import type { AbortSignalLike } from "./options.ts";
import type { Snapshot } from "./snapshot.ts";
import type { HostInterface } from "./sources/interfaces.ts";
import type { Difference, WatchOptions } from "./watch.ts";

/**
 * `[Symbol.asyncDispose]`, for `await using`, where the program's types know the symbol (TypeScript's `esnext.disposable`
 * or `@types/node`): without them there is neither the symbol nor the syntax.
 */
export type ClosesItself = SymbolConstructor extends { readonly asyncDispose: infer Key extends symbol }
  ? { readonly [K in Key]: () => Promise<void> }
  : object;

/** An attached guest: its kernel was found and its layout resolved. Holds the image open until it is closed. */
export interface Guest extends ClosesItself {
  /** What was found out about the guest's kernel, and how. */
  readonly kernel: Kernel;
  /**
   * Walks over the guest's processes and their sockets, on a thread of its own. Snapshots may be taken at once.
   *
   * @throws XFilterError: WALK_BUDGET, GUEST_CHANGED, OUT_OF_MEMORY, SOURCE_TRUNCATED, SOURCE_IO, or CLOSED after `close()`
   * @throws `signal.reason` when aborted
   */
  snapshot(options?: SnapshotOptions): Promise<Snapshot>;
  /**
   * What each virtual CPU ran when the image was taken, found by the CPU's registers; what it runs, of a domain of Xen. ELF cores, Xen's
   * and its domains tell them.
   *
   * @throws XFilterError: REGISTERS_NOT_FOUND for an image or a QEMU without registers, WALK_BUDGET after 10 s, SOURCE_TRUNCATED,
   * SOURCE_GONE, CLOSED after `close()`
   * @throws `signal.reason` when aborted
   */
  cpus(options?: CpusOptions): Promise<readonly Cpu[]>;
  /**
   * Polls the guest and yields what changed since the poll before, the first time from nothing; while nothing changes,
   * nothing is yielded. Polls of one watch never overlap, and what a poll would have seen that was not made in time
   * is in the next. Ends when its consumer leaves the loop.
   *
   * @throws XFilterError from the iteration: those of `snapshot()`
   * @throws `signal.reason` from the iteration when aborted
   */
  watch(options?: WatchOptions): AsyncGenerator<Difference, void, undefined>;
  /**
   * The network devices of this machine that the guest's packets go through: its taps, by what QEMU's process has open; its vifs, by what
   * Xen's toolstack has made for its domain; or those that are named.
   *
   * @throws XFilterError: INTERFACE_UNKNOWN for an image; INTERFACE_NOT_FOUND if there is none, or elsewhere; INTERFACE_UNSEEN
   * if packets of the guest go by what the host's netfilter does not see; INTERFACE_FOREIGN for a named one that is another's;
   * SOURCE_GONE, SOURCE_PERMISSION, TOOL_NOT_FOUND (`ip`), CLOSED
   */
  interfaces(options?: InterfacesOptions): Promise<readonly HostInterface[]>;
  /**
   * A profile of the guest's kernel, as JSON: what was resolved of its types and symbols. Given to a later
   * `introspect()` as the file `profile`, it stands for the guest's own word on both.
   *
   * @throws XFilterError: CLOSED after `close()`
   */
  profile(): string;
  /** Waits for the walks that run, then lets go of the image. May be called again; snapshots stay usable. */
  close(): Promise<void>;
}

/** How to walk. */
export interface SnapshotOptions {
  /** Stops the walk; `snapshot` then rejects with `signal.reason`. */
  readonly signal?: AbortSignalLike | undefined;
  /** Also read what each process was started as: `exe` and `args`, from its own pages. Default: false. */
  readonly details?: boolean | undefined;
  /**
   * Of a guest that is paused for its walks (`consistency: "pause"`): work on the snapshot that is done before the guest runs on,
   * within the same `pauseBudgetMs`. `snapshot` rejects with what it rejects with.
   */
  readonly whilePaused?: ((snapshot: Snapshot) => Promise<void>) | undefined;
}

/** Message of the tracing channel `xfilter-core:snapshot` of `node:diagnostics_channel`: one call of `snapshot()`. */
export interface SnapshotMessage {
  readonly guest: Guest;
  /** In `asyncStart` and `asyncEnd`: what it resolved with. */
  readonly result?: Snapshot;
  /** What it rejected with. */
  readonly error?: unknown;
}

/** How to read the CPUs. */
export interface CpusOptions {
  /** Stops the reading; `cpus` then rejects with `signal.reason`. */
  readonly signal?: AbortSignalLike | undefined;
}

/** Which of this machine's network devices to find. */
export interface InterfacesOptions {
  /** Those of these names, instead of those that QEMU has open or Xen has for the domain. Also for an image. */
  readonly names?: readonly string[] | undefined;
}
