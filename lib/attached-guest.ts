import { type Cpu, toCpu } from "./cpu.ts";
import { invalidOption, toXFilterError, XFilterError, type XFilterErrorCode } from "./errors.ts";
import type { CpusOptions, Guest, InterfacesOptions, SnapshotMessage, SnapshotOptions } from "./guest.ts";
import { runJob } from "./job.ts";
import { type Kernel, toKernel } from "./kernel.ts";
import type { NativeGuest, NativeJob, NativeSnapshot, NativeWalkOptions } from "./native.ts";
import { type AbortSignalLike, checkKeys, checkSignal } from "./options.ts";
import type { Pauses } from "./pause/pauses.ts";
import { sleep, unlessAborted } from "./sleep.ts";
import { type Snapshot, WalkedSnapshot } from "./snapshot.ts";
import type { HostInterface } from "./sources/interfaces.ts";
import type { LiveSource } from "./sources/live-source.ts";
import { checkNames, namedInterfaces } from "./sources/named-interfaces.ts";
import { Tracer } from "./traced.ts";
import { checkWatchOptions, type Difference, differences, type WatchOptions } from "./watch.ts";

/** @internal What a guest that runs is attached to by, again when it has changed. */
export interface Attachable extends Pick<LiveSource, "changed" | "interfaces" | "moves" | "close"> {
  /** To a kernel that is seen to run. */
  attach(signal: AbortSignalLike): Promise<{ native: NativeGuest; pauses?: Pauses }>;
}

/** What is wrong with the memory of a guest that boots. */
const BOOTING: readonly XFilterErrorCode[] = [
  ...(["KERNEL_NOT_FOUND", "SYMBOLS_NOT_FOUND", "TYPES_NOT_FOUND", "TYPES_INVALID", "LAYOUT_INCOMPLETE"] as const),
  "GUEST_CHANGED",
];
const MAX_BOOT_MS = 60_000;
const BOOT_POLL_MS = 100;

/** What is wrong with a monitor that comes back, or whose QEMU is about to end; with a domain that goes while it is attached to. */
const DISCONNECTED: readonly XFilterErrorCode[] = ["SOURCE_NOT_FOUND", "QMP_CLOSED"];
const MAX_DISCONNECTED_MS = 5_000;

const SNAPSHOTS = new Tracer<SnapshotMessage>("xfilter-core:snapshot");

/** A guest that changes more often in a row does not settle. */
const MAX_REATTACHES = 3;

/** @internal */
export class AttachedGuest implements Guest {
  #kernel: Kernel;
  #native: NativeGuest;
  readonly #budgetMs: number;
  readonly #live: Attachable | undefined;
  #pauses: Pauses | undefined;
  /** Whether the guest is paused for its walks. While it is attached anew it has no `#pauses`. */
  readonly #paused: boolean;
  /** Whether it was noticed that the guest is not the one that was attached to. */
  #changed = false;
  #reattaching: Promise<void> | undefined;
  readonly #running = new Set<Promise<unknown>>();
  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;

  /** `live` and `pauses`, which stop the guest for its walks, are closed with the guest. */
  constructor(native: NativeGuest, budgetMs: number, live?: Attachable, pauses?: Pauses) {
    this.#pauses = pauses;
    this.#paused = pauses !== undefined;
    this.#kernel = toKernel(native.kernel);
    this.#native = native;
    this.#budgetMs = budgetMs;
    this.#live = live;
  }

  get kernel(): Kernel {
    return this.#kernel;
  }

  snapshot(options: SnapshotOptions = {}): Promise<Snapshot> {
    return SNAPSHOTS.run({ guest: this }, () => this.#snapshot(options));
  }

  async #snapshot(options: SnapshotOptions): Promise<Snapshot> {
    checkKeys(options, ["signal", "details", "whilePaused"]);
    const { signal, details = false, whilePaused } = options;
    if (typeof details !== "boolean") throw invalidOption("details is not a boolean");
    if (whilePaused && !this.#paused) {
      throw invalidOption('whilePaused, as for hold "apply", needs a guest that is paused: consistency "pause"');
    }
    const walk = (options: NativeWalkOptions) => this.#native.walk({ ...options, details });
    const work = whilePaused && ((result: NativeSnapshot) => whilePaused(new WalkedSnapshot(result)));
    const { result, pauseMs } = await this.#walk(signal, walk, work);
    return new WalkedSnapshot(result, pauseMs);
  }

  async cpus(options: CpusOptions = {}): Promise<readonly Cpu[]> {
    checkKeys(options, ["signal"]);
    const { result } = await this.#walk(options.signal, () => this.#native.cpus());
    return result.map(toCpu);
  }

  watch(options: WatchOptions = {}): AsyncGenerator<Difference, void, undefined> {
    const { intervalMs, signal } = checkWatchOptions(options);
    this.#checkOpen();
    const watch = this.#native.watch();
    let watched = this.#native;
    const poll = async () => {
      let reattached = false;
      const walked = await this.#walk(signal, (options) => {
        if (watched !== this.#native) {
          watch.moveTo(this.#native);
          reattached = true;
        }
        watched = this.#native;
        return watch.poll(options);
      });
      return { ...walked, reattached };
    };
    return differences(poll, (milliseconds) => this.#sleep(milliseconds, signal), intervalMs);
  }

  async interfaces(options: InterfacesOptions = {}): Promise<readonly HostInterface[]> {
    checkKeys(options, ["names"]);
    checkNames(options.names);
    this.#checkOpen();
    if (this.#live) {
      const found = await this.#track(this.#live.interfaces(options.names));
      this.#checkOpen();
      // Where QEMU has ended meanwhile, another process may have had its id.
      this.#requireThere(this.#live);
      return found;
    }
    if (options.names) return namedInterfaces(options.names, null);
    throw new XFilterError(
      "INTERFACE_UNKNOWN",
      "an image does not tell by which network devices its guest is connected",
      "Attach to the guest that runs, or name its devices (--interface); to see what rules would do, `xfilter plan` takes an image",
    );
  }

  profile(): string {
    this.#checkOpen();
    return this.#native.profile;
  }

  /** A walk, while the guest is paused if it was attached so; once more on a guest that turns out to have changed. */
  async #walk<T>(
    signal: AbortSignalLike | undefined,
    start: (options: NativeWalkOptions) => NativeJob<T>,
    whilePaused?: (result: T) => Promise<void>,
  ): Promise<{ result: T; pauseMs: number }> {
    for (let reattaches = 0; ; reattaches++) {
      checkSignal(signal);
      this.#checkOpen();
      if (this.#live) {
        const asked = this.#native;
        const changed = this.#changed || (await this.#unlessEnded(this.#live.changed(), signal));
        // The answer may be about a guest that another walk has attached anew from meanwhile.
        this.#changed ||= changed && asked === this.#native;
        await this.#reattachBooted(this.#live, signal);
      }
      const native = this.#native;
      try {
        return await this.#walkOnce(signal, start, whilePaused);
      } catch (error) {
        const code = error instanceof XFilterError ? error.code : undefined;
        const changed = code === "GUEST_CHANGED";
        // Whether it goes on elsewhere is asked next.
        const left = code === "SOURCE_GONE" && this.#live?.moves;
        if (!(changed || left) || !this.#live || reattaches === MAX_REATTACHES) throw error;
        this.#checkOpen();
        this.#changed ||= changed && native === this.#native;
      }
    }
  }

  /** A guest that was reset has no kernel for a while, and then one whose first structures are not made yet. */
  async #reattachBooted(live: Attachable, signal: AbortSignalLike | undefined): Promise<void> {
    // Another walk may have attached while this one waited.
    for (const start = performance.now(); this.#changed; ) {
      try {
        return await this.#unlessEnded(this.#reattach(live), signal);
      } catch (error) {
        if (!(error instanceof XFilterError)) throw error;
        this.#checkOpen();
        this.#requireThere(live);
        const elapsed = performance.now() - start;
        const booting = BOOTING.includes(error.code) && elapsed < MAX_BOOT_MS;
        const disconnected = DISCONNECTED.includes(error.code) && elapsed < MAX_DISCONNECTED_MS;
        if (!booting && !disconnected) throw error;
      }
      await this.#sleep(BOOT_POLL_MS, signal);
    }
  }

  /** Throws SOURCE_GONE when QEMU has ended, as nothing boots in it any more; a guest that moves need not be where it was. */
  #requireThere({ moves }: Attachable): void {
    if (moves) return;
    try {
      this.#native.requireIntact();
    } catch (cause) {
      throw toXFilterError(cause);
    }
  }

  /** Ends early, and rejects, when the signal is aborted or the guest is closed. */
  #sleep(milliseconds: number, signal: AbortSignalLike | undefined): Promise<void> {
    return sleep(milliseconds, this.#endedBy(signal));
  }

  /** Does not wait on when the signal is aborted or the guest is closed. */
  #unlessEnded<T>(work: Promise<T>, signal: AbortSignalLike | undefined): Promise<T> {
    return unlessAborted(work, this.#endedBy(signal));
  }

  #endedBy(signal: AbortSignalLike | undefined): AbortSignalLike[] {
    return signal ? [signal, this.#closed.signal] : [this.#closed.signal];
  }

  async #walkOnce<T>(
    signal: AbortSignalLike | undefined,
    start: (options: NativeWalkOptions) => NativeJob<T>,
    whilePaused?: (result: T) => Promise<void>,
  ): Promise<{ result: T; pauseMs: number }> {
    const pauses = this.#pauses;
    if (!pauses) {
      const result = await this.#run(signal, () => start({ budgetMs: this.#budgetMs, paused: false }));
      return { result, pauseMs: 0 };
    }
    this.#checkOpen();
    const pausedMs = Math.min(this.#budgetMs, pauses.budgetMs);
    const walk = async (stopped: boolean) => {
      const budgetMs = stopped ? pausedMs : this.#budgetMs;
      const result = await this.#run(signal, () => start({ budgetMs, paused: stopped }));
      await whilePaused?.(result);
      return result;
    };
    try {
      return await this.#track(pauses.during(walk));
    } catch (error) {
      if (this.#live && error instanceof XFilterError && DISCONNECTED.includes(error.code))
        this.#requireThere(this.#live);
      throw error;
    }
  }

  /** Whoever noticed the change, one attach serves all. */
  #reattach(live: Attachable): Promise<void> {
    const attach = async () => {
      // Its guard has the monitor.
      await this.#pauses?.close();
      this.#pauses = undefined;
      const { native, pauses } = await live.attach(this.#closed.signal);
      this.#native.close();
      this.#native = native;
      this.#pauses = pauses;
      this.#kernel = toKernel(native.kernel);
      this.#changed = false;
    };
    this.#reattaching ??= this.#track(attach()).finally(() => {
      this.#reattaching = undefined;
    });
    return this.#reattaching;
  }

  /** Work that `close()` waits for. */
  #track<T>(work: Promise<T>): Promise<T> {
    const done = () => this.#running.delete(work);
    this.#running.add(work);
    work.then(done, done);
    return work;
  }

  async #run<T>(signal: AbortSignalLike | undefined, start: () => NativeJob<T>): Promise<T> {
    checkSignal(signal);
    this.#checkOpen();
    return runJob(() => {
      const job = start();
      this.#track(job.promise);
      return job;
    }, signal);
  }

  close(): Promise<void> {
    this.#closed.abort(new XFilterError("CLOSED", "this guest was closed", "Call introspect() again for a new one"));
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #checkOpen(): void {
    this.#closed.signal.throwIfAborted();
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#running);
    this.#native.close();
    try {
      await this.#pauses?.close();
    } finally {
      this.#live?.close();
    }
  }

  declare [Symbol.asyncDispose]: () => Promise<void>;
}

// Node 20 knows the symbol; a runtime without it has no `await using` either.
if (typeof Symbol.asyncDispose === "symbol") {
  AttachedGuest.prototype[Symbol.asyncDispose] = function (this: AttachedGuest) {
    return this.close();
  };
}
