import type { NativeAttachOptions } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";
import type { Pausable } from "../pause/messages.ts";
import type { HostInterface } from "./interfaces.ts";

/** @internal Where the memory of a guest that runs is. */
export type Place = Pick<NativeAttachOptions, "process" | "domain">;

/** @internal What runs a guest that is attached to, and attached to again when it changes. Nothing is asked before `locate`. */
export interface LiveSource {
  /** Where the guest's memory is now. */
  locate(signal?: AbortSignalLike): Promise<Place>;
  /** Whether the guest is known to be another, since `locate`, than the one that was located. Rejects when it is over. */
  changed(): Promise<boolean>;
  /** The host's network devices that are the guest's, or those that are named. */
  interfaces(names?: readonly string[]): Promise<HostInterface[]>;
  /** By what it is paused. Throws PAUSE_UNAVAILABLE. */
  pausable(): Pausable;
  /** Whether the guest may go on elsewhere than where it was located: that it has ended there is then not the end of it. */
  readonly moves: boolean;
  close(): void;
}
