import { Answers, type OtherKind } from "./answers.ts";
import type { Endpoint } from "./endpoint.ts";
import { type ListedRow, type ProcNetRow, type Protocol, procNetRows, stateName } from "./proc-net.ts";
import type { Transcript } from "./transcript.ts";

/** Why no process holds a socket; `null` where one does. */
export type UnownedReason =
  | "time-wait"
  | "syn-recv"
  | "orphan"
  | "not-accepted"
  | "in-flight"
  | "io-uring"
  | "kernel"
  | "unknown";

/** A sock, held or not. What the guest could not be asked is `null`. */
export interface SocketTruth {
  protocol: Protocol;
  /** The socket's own: 6 also when it carries IPv4. */
  family: 4 | 6;
  state: string;
  local: Endpoint;
  remote: Endpoint | null;
  /**
   * Time-wait has none, in truth. Of other socks without an inode /proc tells only a half-open request's, which is its
   * listener's: before 7.x it prints 0.
   */
  uid: number | null;
  inode: number;
  netns: number;
  boundInterface: number | null;
  /** An IPv6 socket that receives IPv4 too: see `receivesBoth`. */
  dualStack: boolean | null;
  mptcp: boolean | null;
  owners: { pid: number; fd: number }[];
  unownedReason: UnownedReason | null;
}

/** A socket that sends what no flow describes: frames, or packets with a header of its own, or by other transports. */
export interface OtherSocketTruth {
  kind: OtherKind;
  inode: number;
  netns: number;
  owners: { pid: number; fd: number }[];
}

const same = (a: Endpoint, b: Endpoint) => a.address === b.address && a.port === b.port;
const shown = (endpoint: Endpoint) => `${endpoint.address} port ${endpoint.port}`;

/**
 * The two accounts of one socket have to agree. By design they do not where getpeername has no answer (raw and ping
 * sockets connected to port 0, SYN_SENT), and for MPTCP, whose row is its subflow's.
 */
function crossCheck(row: ProcNetRow, answers: Answers): void {
  const complain = (what: string, table: unknown, call: unknown) => {
    throw new Error(`Socket ${row.inode} (${row.protocol}): ${what} is ${table} in /proc/net, ${call} by system call`);
  };
  const local = answers.endpoint("local");
  const remote = answers.endpoint("remote");
  if (row.family !== answers.family) complain("family", row.family, answers.family);
  if (row.protocol !== answers.protocol) complain("protocol", row.protocol, answers.protocol);
  if (row.uid !== answers.number("uid")) complain("uid", row.uid, answers.number("uid"));
  if (row.netns !== answers.number("netns")) complain("namespace", row.netns, answers.number("netns"));
  if (answers.mptcp) return;
  if (local && !same(row.local, local)) complain("local address", shown(row.local), shown(local));
  if (remote && !same(row.remote, remote)) complain("remote address", shown(row.remote), shown(remote));
  if (row.protocol !== "tcp") return;
  const state = stateName("tcp", answers.number("state"));
  if (row.state !== state) complain("state", row.state, state);
}

/** Who holds which inode, through whichever thread's table. */
function ownersByInode(transcript: Transcript): Map<number, SocketTruth["owners"]> {
  const owners = new Map<number, SocketTruth["owners"]>();
  for (const [path, target] of transcript.links) {
    const descriptor = /^\/proc\/(\d+)\/task\/\d+\/fd\/(\d+)$/.exec(path);
    const inode = Number(/^socket:\[(\d+)\]$/.exec(target)?.[1]);
    if (!descriptor) continue;
    const owner = { pid: Number(descriptor[1]), fd: Number(descriptor[2]) };
    const list = owners.get(inode) ?? [];
    if (!list.some(({ pid, fd }) => pid === owner.pid && fd === owner.fd)) list.push(owner);
    owners.set(inode, list);
  }
  for (const list of owners.values()) list.sort((a, b) => a.pid - b.pid || a.fd - b.fd);
  return owners;
}

/** Of no table: unbound, bound but not listening, reset; or in a network that nobody could enter to read its tables. */
function unlisted(
  inode: number,
  answers: Answers,
  readable: boolean,
): Omit<SocketTruth, "owners" | "unownedReason"> | null {
  const { protocol, family } = answers;
  if (protocol === null || family === null || answers.mptcp) return null;
  const local = answers.endpoint("local");
  const state = stateName(protocol, protocol === "tcp" ? answers.number("state") : 7);
  const remote = answers.endpoint("remote");
  if (!local || (readable && (remote || !(state === "CLOSE" || state === "UNCONN"))))
    throw new Error(`Socket ${inode} (${protocol}, ${state}) is in no table of /proc/net`);
  return {
    ...{ protocol, family, state, local, remote, inode },
    dualStack: answers.receivesBoth(protocol, state, local),
    uid: answers.number("uid"),
    netns: answers.number("netns"),
    boundInterface: answers.number("interface"),
    mptcp: false,
  };
}

/** What the workload declared, by inode or by port. */
class Unheld {
  private readonly byInode = new Map<number, Map<string, string>>();
  private readonly byPort = new Map<number, Map<string, string>>();

  constructor(declared: readonly Map<string, string>[]) {
    for (const values of declared) {
      if (values.has("inode")) this.byInode.set(Number(values.get("inode")), values);
      else this.byPort.set(Number(values.get("port")), values);
    }
  }

  inodes(): Iterable<number> {
    return this.byInode.keys();
  }

  answers(inode: number): Answers | null {
    const values = this.byInode.get(inode);
    return values ? new Answers(values) : null;
  }

  reason(inode: number, port: number): UnownedReason | undefined {
    return (this.byInode.get(inode) ?? this.byPort.get(port))?.get("reason") as UnownedReason | undefined;
  }

  uid(port: number): number | null {
    return Number(this.byPort.get(port)?.get("uid") ?? Number.NaN) || null;
  }
}

/** What TCP itself keeps is told apart by what kind of sock it is and what state it is in. */
function reasonOf(row: ListedRow, unheld: Unheld): UnownedReason {
  if (row.mini) return row.mini === "request" ? "syn-recv" : "time-wait";
  if (row.inode === 0) return ["ESTABLISHED", "CLOSE_WAIT"].includes(row.state) ? "not-accepted" : "orphan";
  const reason = unheld.reason(row.inode, row.local.port);
  if (!reason)
    throw new Error(`Nobody holds socket ${row.inode} (${row.protocol} ${shown(row.local)}), nobody knows why`);
  return reason;
}

function listed(row: ListedRow, answers: Answers | null): Omit<SocketTruth, "owners" | "unownedReason"> {
  if (answers) crossCheck(row, answers);
  const { mini: _, ...fields } = row;
  const waits = row.state === "LISTEN" || row.state === "UNCONN";
  return {
    ...fields,
    boundInterface: answers ? answers.number("interface") : null,
    dualStack: row.family === 4 || !waits ? false : (answers?.receivesBoth(row.protocol, row.state, row.local) ?? null),
    mptcp: answers?.mptcp ?? null,
  };
}

/**
 * /proc/net/icmp and icmp6 share a hash, and from the second socket of a bucket on, the kernel does not ask for the family
 * (ping_get_next in net/ipv4/ping.c): a socket is now and then in the other family's table, too.
 */
function isStray({ protocol, family }: ListedRow, answers: Answers | null): boolean {
  return protocol === "icmp" && answers?.protocol === "icmp" && family !== answers.family;
}

export function socketTruths(transcript: Transcript): SocketTruth[] {
  const rows = [...transcript.networks].flatMap(([netns, tables]) =>
    [...tables].flatMap(([table, text]) => procNetRows(table, text, netns)),
  );
  const rowsOf = new Map<number, ListedRow[]>();
  for (const row of rows) rowsOf.set(row.inode, [...((row.inode && rowsOf.get(row.inode)) || []), row]);
  const owned = ownersByInode(transcript);
  const unheld = new Unheld(transcript.unheld);
  const sockets: SocketTruth[] = [];
  for (const [inode, owners] of owned) {
    const values = transcript.answers.get(inode);
    const answers = values ? new Answers(values) : null;
    const rowsHere = (rowsOf.get(inode) ?? []).filter((row) => !isStray(row, answers));
    for (const row of rowsHere) sockets.push({ ...listed(row, answers), owners, unownedReason: null });
    const socket = rowsHere.length === 0 && answers ? unlisted(inode, answers, true) : null;
    if (socket) sockets.push({ ...socket, owners, unownedReason: null });
  }
  for (const row of rows) {
    if (owned.has(row.inode)) continue;
    const unownedReason = reasonOf(row, unheld);
    const told = row.inode !== 0 || unownedReason === "syn-recv";
    const uid = told ? row.uid : unownedReason === "time-wait" ? null : unheld.uid(row.local.port);
    sockets.push({ ...listed(row, unheld.answers(row.inode)), uid, owners: [], unownedReason });
  }
  for (const inode of unheld.inodes()) {
    const answers = unheld.answers(inode)!;
    if (rowsOf.has(inode)) continue;
    const socket = unlisted(inode, answers, transcript.networks.has(answers.number("netns")));
    if (socket) sockets.push({ ...socket, owners: [], unownedReason: unheld.reason(inode, 0) ?? "unknown" });
  }
  return sockets;
}

export function otherSocketTruths(transcript: Transcript): OtherSocketTruth[] {
  const owned = ownersByInode(transcript);
  return [...transcript.answers].flatMap(([inode, values]) => {
    const answers = new Answers(values);
    const kind = answers.otherKind;
    return kind ? [{ kind, inode, netns: answers.number("netns"), owners: owned.get(inode) ?? [] }] : [];
  });
}
