import type { Command } from "commander";
import type { OtherSocket, Socket } from "../index.ts";
import { type Context, guestCommand, type Invocation } from "./command.ts";
import { compareSockets, compareText, formatEndpoint, formatOwners, formatProtocol, shortenEndpoint } from "./flow.ts";
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
    const { netns } = socket;
    return [...cells(socket), ...(several ? [netns === null ? "-" : String(netns)] : []), formatOwners(socket)];
  });
  await output.table([...columns, ...(several ? [NETNS] : []), OWNERS], rows);
}

function cells(socket: Socket): string[] {
  const { state, local, remote, uid } = socket;
  return [
    formatProtocol(socket),
    state,
    formatEndpoint(local),
    formatEndpoint(remote),
    uid === null ? "-" : String(uid),
  ];
}
