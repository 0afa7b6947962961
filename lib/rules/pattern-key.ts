import { formatNetwork, parseNetwork } from "./network.ts";
import type { FlowPattern } from "./pattern.ts";

/**
 * A pattern as text, the same for the same pattern however it is written: "out tcp4 192.0.2.7:40000 198.51.100.0/24:22-25
 * drop", "in udp6 [2001:db8::1]:53 *:* reject". The guest's end comes first. It says all of the pattern, so that what is
 * found in a firewall has the key of what was put there.
 */
export function patternKey(pattern: FlowPattern): string {
  return `${flowKey(pattern)} ${pattern.action}`;
}

/** @internal The same without the action: what a plan holds once. */
export function flowKey({ direction, family, protocol, local, remote }: Omit<FlowPattern, "action">): string {
  return `${direction} ${protocol}${family} ${end(local.address, local.port)} ${end(remote.address, ports(remote.ports))}`;
}

/** The one port, or the first and the last; null for all of them. */
function ports(range: FlowPattern["remote"]["ports"]): number | string | null {
  if (range === null || (range[0] === 0 && range[1] === 65535)) return null;
  return range[0] === range[1] ? range[0] : `${range[0]}-${range[1]}`;
}

function end(address: string | null, port: number | string | null): string {
  return `${address === null ? "*" : canonical(address)}:${port ?? "*"}`;
}

function canonical(address: string): string {
  // Quick where it matters: an IPv4 address has one spelling.
  if (!/[:/]/.test(address)) return address;
  const network = parseNetwork(address);
  if (network === undefined) return address;
  if (network.length === 0) return "*";
  const text = formatNetwork(network);
  return network.family === 6 ? `[${text}]` : text;
}
