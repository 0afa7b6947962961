import type { RuleBackend } from "../../backends/backend.ts";
import type { GuestInterface } from "../../guest-interface.ts";
import type { Packet } from "../../rules/packet.ts";

/** A backend that is to be checked, and how its effects can be seen. */
export interface BackendUnderTest {
  /** A new backend, as a new agent on the host makes it; all of them work at one firewall. It is not opened. */
  readonly create: () => RuleBackend | Promise<RuleBackend>;
  /** Devices of the guests; one that is made up, if not given. Asked for when a case runs. */
  readonly interfaces?: () => readonly GuestInterface[] | Promise<readonly GuestInterface[]>;
  /** False of what holds nothing, such as a dry run: what it is told ends with the object, and leases are not kept. Default: true. */
  readonly outlivesAgent?: boolean;
  /** Sends a packet of the guest through the firewall: whether it came past. Without it the kit believes what `inspect` says. */
  readonly passes?: (packet: Packet, guest: string) => boolean | Promise<boolean>;
  /** Makes the next change of the firewall fail when half of it is done. */
  readonly breakNextChange?: (guest: string) => void | Promise<void>;
  /** What others may do to what is in force for a guest, by name: "takes a pattern out", "flushes everything". Each has to be noticed and repaired. */
  readonly disturbances?: Readonly<Record<string, (guest: string) => void | Promise<void>>>;
}

/** One thing that every backend has to do. */
export interface ConformanceCase {
  readonly name: string;
  /** Why it cannot be checked here; null: it can. Give it to the test runner, so that it is told. */
  readonly skip: string | null;
  /** Rejects with an `Error` that says what was expected and what was found. Cases may run in any order, but not at once. */
  readonly run: () => Promise<void>;
}
