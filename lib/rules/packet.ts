import { contains, parseNetwork } from "./network.ts";
import type { FlowPattern } from "./pattern.ts";
import type { Direction, RuleAction, RuleProtocol } from "./rule.ts";

/** A packet of a guest, as far as patterns tell packets apart. */
export interface Packet {
  /** Whether it leaves the guest or enters it. */
  readonly direction: Direction;
  readonly protocol: RuleProtocol;
  /** The guest's end. */
  readonly local: { readonly address: string; readonly port: number };
  readonly remote: { readonly address: string; readonly port: number };
}

/** The first of the patterns that matches the packet, as a firewall has to find it; undefined where none does. */
export function decidingPattern<T extends FlowPattern>(patterns: Iterable<T>, packet: Packet): T | undefined {
  for (const pattern of patterns) if (matches(pattern, packet)) return pattern;
  return undefined;
}

/** Whether a packet on which an action was decided, or none, comes past the firewall. */
export function comesPast(action: RuleAction | undefined): boolean {
  return action !== "drop" && action !== "reject";
}

function matches({ direction, family, protocol, local, remote }: FlowPattern, packet: Packet): boolean {
  if (direction !== packet.direction || protocol !== packet.protocol) return false;
  const [from, to] = remote.ports ?? [0, 65535];
  if (packet.remote.port < from || packet.remote.port > to) return false;
  if (local.port !== null && local.port !== packet.local.port) return false;
  return lies(packet.local.address, local.address, family) && lies(packet.remote.address, remote.address, family);
}

function lies(address: string, within: string | null, family: 4 | 6): boolean {
  const inner = parseNetwork(address);
  if (inner?.family !== family) return false;
  const outer = within === null ? undefined : parseNetwork(within);
  return within === null || (outer !== undefined && contains(outer, inner));
}
