import { escapeText, escapeWord } from "../escape.ts";
import type { Endpoint, Owner, Socket } from "../index.ts";
import type { Cell } from "./table.ts";

const PROTOCOL_ORDER = ["tcp", "udp", "udplite", "raw", "icmp"];

/** By protocol, family, local port, then the other end; the last keys only make the order the same every time. */
export function compareSockets(a: Socket, b: Socket): number {
  return (
    PROTOCOL_ORDER.indexOf(a.protocol) - PROTOCOL_ORDER.indexOf(b.protocol) ||
    a.family - b.family ||
    a.local.port - b.local.port ||
    compareText(a.local.address, b.local.address) ||
    compareText(a.remote.address, b.remote.address) ||
    a.remote.port - b.remote.port ||
    (a.netns ?? 0) - (b.netns ?? 0) ||
    a.inode - b.inode
  );
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** As /proc/net does: tcp6, udp6. A TCP subflow of MPTCP says so. */
export function formatProtocol({ protocol, family, mptcp }: Socket): string {
  return `${mptcp ? "mptcp" : protocol}${family === 6 ? "6" : ""}`;
}

/** "192.0.2.7:22", "[2001:db8::1]:22", with * for a port that is not there. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port === 0 ? "*" : port}`;
}

/** "[2001:…::1]:22": of an endpoint the middle of its address goes, never the port. */
export function shortenEndpoint(endpoint: string, width: number): string {
  const colon = endpoint.lastIndexOf(":");
  const [address, port] = [endpoint.slice(0, colon), endpoint.slice(colon)];
  const kept = Math.max(0, width - port.length - 1);
  const tail = Math.floor(kept / 2);
  return `${address.slice(0, kept - tail)}…${address.slice(address.length - tail)}${port}`;
}

/** Who holds a socket, each as a word of its own, or why nobody does. */
export function formatOwners({
  owners,
  unownedReason,
}: {
  owners: readonly Owner[];
  unownedReason?: string | null;
}): Cell {
  return owners.length > 0 ? owners.map(formatOwner) : `(${escapeText(unownedReason ?? "unknown")})`;
}

/** "539/nc/3"; a name that could pass for more than one word is quoted. */
function formatOwner({ pid, comm, fd }: Owner): string {
  return `${pid}/${escapeWord(comm, /^[^\s/"]+$/)}/${fd}`;
}
