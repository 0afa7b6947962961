import type { Command } from "commander";
import type { Endpoint, Owner, Socket } from "../index.ts";
import { type Context, guestCommand } from "./command.ts";
import { escapeText } from "./escape.ts";
import type { Column } from "./table.ts";

const COLUMNS: readonly Column[] = [
  { title: "PROTO" },
  { title: "STATE" },
  { title: "LOCAL", flexible: true },
  { title: "REMOTE", flexible: true },
  { title: "UID", align: "right" },
  { title: "OWNERS", flexible: true },
];

export function ssCommand(context: Context): Command {
  return guestCommand(
    "ss",
    "list the guest's sockets and who owns them",
    context,
    async ({ guest, output, signal, json }) => {
      const { sockets } = await guest.snapshot({ signal });
      const sorted = sockets.toArray().sort(compareSockets);
      if (json) await output.json(sorted);
      else await output.table(COLUMNS, sorted.map(cells));
    },
  );
}

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

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function cells(socket: Socket): string[] {
  const { protocol, family, state, local, remote, uid, owners, unownedReason, mptcp } = socket;
  return [
    // As /proc/net does: tcp6, udp6. A TCP subflow of MPTCP says so.
    `${mptcp ? "mptcp" : protocol}${family === 6 ? "6" : ""}`,
    state,
    formatEndpoint(local),
    formatEndpoint(remote),
    uid === null ? "-" : String(uid),
    owners.length > 0 ? owners.map(formatOwner).join(" ") : `- ${escapeText(unownedReason ?? "")}`.trimEnd(),
  ];
}

/** "192.0.2.7:22", "[2001:db8::1]:22", with * for a port that is not there. */
function formatEndpoint({ address, port }: Endpoint): string {
  return `${address.includes(":") ? `[${address}]` : address}:${port === 0 ? "*" : port}`;
}

/** "539/nc/3"; a name that could pass for more than one word is quoted. */
function formatOwner({ pid, comm, fd }: Owner): string {
  const name = escapeText(comm);
  return `${pid}/${/^[^\s/"]+$/.test(name) ? name : `"${name.replaceAll('"', '\\"')}"`}/${fd}`;
}
