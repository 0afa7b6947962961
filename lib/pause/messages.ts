/** @internal What the agent asks of its guard. `path` is a guest's QMP socket; each request has one answer. */
export type Request =
  /** Connect to the monitor and keep it. */
  | { readonly id: number; readonly do: "hold"; readonly path: string }
  /** Stop the guest, for no longer than `budgetMs`, unless it has changed. */
  | { readonly id: number; readonly do: "stop"; readonly path: string; readonly budgetMs: number }
  /** Resume it, if it was stopped by us. */
  | { readonly id: number; readonly do: "resume"; readonly path: string }
  /** Resume it, and let go of the monitor. */
  | { readonly id: number; readonly do: "release"; readonly path: string };

/** @internal What the guard answers. */
export type Answer =
  | { readonly id: number; readonly pause?: Pause | undefined; readonly stop?: Stop | undefined }
  | {
      readonly id: number;
      readonly error: { readonly code: string; readonly message: string; readonly advice: string };
    };

/**
 * @internal What became of a stop: it stands still and ran; it stood still before, and is nobody's to resume; it runs on,
 * because it is not the guest that was attached to.
 */
export type Stop = "stopped" | "stood" | "changed";

/** @internal A pause that is over. */
export interface Pause {
  /** Milliseconds from QEMU's STOP event to its RESUME event, by QEMU's clock. */
  readonly milliseconds: number;
  /** Whether it ended before we ended it: its time was up, or somebody else resumed the guest. */
  readonly expired: boolean;
}
