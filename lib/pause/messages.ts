import type { NativeDomainId } from "../native.ts";

/** @internal By what a guest is paused: its QMP socket, or Xen. */
export type Pausable = { readonly qmp: string } | { readonly domain: NativeDomainId };

/** @internal What the agent asks of its guard. `guest` is a number that stands for one that is held; each request has one answer. */
export type Request = { readonly id: number; readonly guest: number } & (
  | /** Take the guest's monitor, or find its domain, and keep it. */
  { readonly do: "hold"; readonly pausable: Pausable }
  /** Stop the guest, for no longer than `budgetMs`, unless it has changed. */
  | { readonly do: "stop"; readonly budgetMs: number }
  /** Resume it, if it was stopped by us. */
  | { readonly do: "resume" }
  /** Resume it, and let go of it. */
  | { readonly do: "release" }
);

/** @internal What the guard answers. */
export type Answer =
  | { readonly id: number; readonly pause?: Pause | undefined; readonly stop?: Stop | undefined }
  | {
      readonly id: number;
      readonly error: { readonly code: string; readonly what: string; readonly advice: string };
    };

/**
 * @internal What became of a stop: it stands still and ran; it stood still before, and is nobody's to resume; it runs on,
 * because it is not the guest that was attached to.
 */
export type Stop = "stopped" | "stood" | "changed";

/** @internal A pause that is over. */
export interface Pause {
  /**
   * Milliseconds from QEMU's STOP event to its RESUME event, by QEMU's clock; of a domain from before the call that paused it to
   * after the one that resumed it, by the guard's.
   */
  readonly milliseconds: number;
  /** Whether it ended before we ended it: its time was up, or somebody else resumed the guest. */
  readonly expired: boolean;
}

/** @internal A guest in the hands of its guard. Its requests are served one after the other. */
export interface Guarded {
  stop(budgetMs: number): Promise<Stop>;
  /** The pause that this ended, or that has ended because its time was up; undefined if there was none. */
  resume(): Promise<Pause | undefined>;
  release(): Promise<void>;
}
