import type { Command } from "commander";
import type { Endpoint, OtherSocket, Owner, Socket } from "../index.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { escapeText } from "./escape.ts";
import type { Cell, Column } from "./table.ts";

/** Narrower than an IPv4 address and a port it becomes only where there is no room at all. */
const ENDPOINT = { flexible: true, minimum: 21, shorten: shortenEndpoint };
const NETNS: Column = { title: "NETNS", align: "right", yields: true };
const OWNERS: Column = { title: "OWNERS", flexible: true, minimum: 16, wraps: true };
const COLUMNS: readonly Column[] = [
  { title: "PROTO" },
  { title: "STATE" },
  { title: "LOCAL", ...ENDPOINT },
  { title: "REMOTE", ...ENDPOINT },
  { title: "UID", align: "right" },
];
const OTHER_COLUMNS: readonly Column[] = [{ title: "KIND" }, { title: "INODE", align: "right" }];

export function ssCommand(context: Context): Command {
  const command = guestCommand("ss", "list the guest's sockets and who owns them", context, (invocation) =>
    command.opts<{ other?: boolean }>().other ? listOthers(invocation) : listSockets(invocation),
  );
  return command.option("--other", "list the sockets that send past all flows instead: packet, vsock, xdp, sctp …");
}

async function listSockets({ output, snapshot, json }: Invocation): Promise<void> {
  const sorted = (await snapshot()).sockets.toArray().sort(compareSockets);
  if (json) await output.json(sorted);
  else await printTable({ output, columns: COLUMNS, sockets: sorted, cells });
}

async function listOthers({ output, snapshot, json }: Invocation): Promise<void> {
  const sorted = (await snapshot()).otherSockets
    .toArray()
    .sort((a, b) => compareText(a.kind, b.kind) || (a.netns ?? 0) - (b.netns ?? 0) || a.inode - b.inode);
  const cells = ({ kind, inode }: OtherSocket) => [kind, String(inode)];
  if (json) await output.json(sorted);
  else await printTable({ output, columns: OTHER_COLUMNS, sockets: sorted, cells });
}

interface Table<S> extends Pick<Invocation, "output"> {
  readonly columns: readonly Column[];
  readonly sockets: readonly S[];
  readonly cells: (socket: S) => Cell[];
}

/** With the namespaces where there are several, and the owners. */
async function printTable<S extends Pick<Socket, "netns" | "owners"> & { unownedReason?: string | null }>({
  output,
  columns,
  sockets,
  cells,
}: Table<S>): Promise<void> {
  const several = new Set(sockets.map(({ netns }) => netns)).size > 1;
  const rows = sockets.map((socket) => {
    const { netns, owners, unownedReason } = socket;
    const shown = owners.length > 0 ? owners.map(formatOwner) : `(${escapeText(unownedReason ?? "unknown")})`;
    return [...cells(socket), ...(several ? [netns === null ? "-" : String(netns)] : []), shown];
  });
  await output.table([...columns, ...(several ? [NETNS] : []), OWNERS], rows);
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

function cells({ protocol, family, state, local, remote, uid, mptcp }: Socket): string[] {
  return [
    // As /proc/net does: tcp6, udp6. A TCP subflow of MPTCP says so.
    `${mptcp ? "mptcp" : protocol}${family === 6 ? "6" : ""}`,
    state,
    formatEndpoint(local),
    formatEndpoint(remote),
    uid === null ? "-" : String(uid),
  ];
}

/** "192.0.2.7:22", "[2001:db8::1]:22", with * for a port that is not there. */
function formatEndpoint({ address, port }: Endpoint): string {
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

/** "539/nc/3"; a name that could pass for more than one word is quoted. */
function formatOwner({ pid, comm, fd }: Owner): string {
  const name = escapeText(comm);
  return `${pid}/${/^[^\s/"]+$/.test(name) ? name : `"${name.replaceAll('"', '\\"')}"`}/${fd}`;
}
