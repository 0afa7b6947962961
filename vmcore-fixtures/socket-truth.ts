import { type Endpoint, sockaddrEndpoint } from "./endpoint.ts";
import { type ProcNetRow, type Protocol, procNetRows, stateName } from "./proc-net.ts";
import type { Transcript } from "./transcript.ts";

/** A sock that at least one process holds. What the guest could not be asked is `null`. */
export interface SocketTruth {
  protocol: Protocol;
  /** The socket's own: 6 also when it carries IPv4. */
  family: 4 | 6;
  state: string;
  local: Endpoint;
  remote: Endpoint | null;
  uid: number;
  inode: number;
  netns: number;
  boundInterface: number | null;
  /** An IPv6 socket that receives IPv4 too: see `receivesBoth`. */
  dualStack: boolean | null;
  mptcp: boolean | null;
  owners: { pid: number; fd: number }[];
}

const MPTCP = 262;

/** The answers of getsockopt and friends for one socket, with names and types. */
class Answers {
  private readonly values: Map<string, string>;

  constructor(values: Map<string, string>) {
    this.values = values;
  }

  number(key: string): number {
    return Number(this.values.get(key));
  }

  endpoint(key: "local" | "remote"): Endpoint | null {
    const [family = "", hex = ""] = (this.values.get(key) ?? "").split(":");
    return family === "2" || family === "10" ? sockaddrEndpoint(Number(family), hex) : null;
  }

  get family(): 4 | 6 | null {
    return ({ 2: 4, 10: 6 }[this.number("domain")] as 4 | 6 | undefined) ?? null;
  }

  get mptcp(): boolean {
    return this.number("protocol") === MPTCP;
  }

  get protocol(): Protocol | null {
    if (this.family === null) return null;
    if (this.number("type") === 3) return "raw";
    const names: Record<number, Protocol> = {
      1: "icmp",
      6: "tcp",
      17: "udp",
      58: "icmp",
      136: "udplite",
      [MPTCP]: "tcp",
    };
    return names[this.number("protocol")] ?? null;
  }

  /**
   * What comes to an IPv6 wildcard socket that waits for anybody may be IPv4, unless it is IPV6_V6ONLY. Raw and ping
   * sockets are of one family.
   */
  receivesBoth(protocol: Protocol, state: string, local: Endpoint): boolean {
    const waits = protocol === "tcp" ? state === "LISTEN" : protocol.startsWith("udp") && state === "UNCONN";
    const wildcard = local.address === "::" && local.port !== 0;
    return this.family === 6 && waits && wildcard && this.number("v6only") === 0;
  }
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

/** A socket that no table lists: unbound, bound but not listening, reset. It has never had a peer, or has lost it. */
function unlisted(inode: number, answers: Answers): Omit<SocketTruth, "owners"> | null {
  const { protocol, family } = answers;
  if (protocol === null || family === null || answers.mptcp) return null;
  const local = answers.endpoint("local");
  const state = stateName(protocol, protocol === "tcp" ? answers.number("state") : 7);
  const remote = answers.endpoint("remote");
  if (!local || remote || !(state === "CLOSE" || state === "UNCONN"))
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

export function socketTruths(transcript: Transcript): { sockets: SocketTruth[]; otherRows: ProcNetRow[] } {
  const rows = [...transcript.networks].flatMap(([netns, tables]) =>
    [...tables].flatMap(([table, text]) => procNetRows(table, text, netns)),
  );
  const owned = ownersByInode(transcript);
  const sockets: SocketTruth[] = [];
  for (const [inode, owners] of owned) {
    const values = transcript.answers.get(inode);
    const answers = values ? new Answers(values) : null;
    const listed = rows.filter((row) => row.inode === inode);
    for (const row of listed) {
      if (answers) crossCheck(row, answers);
      sockets.push({
        ...row,
        boundInterface: answers ? answers.number("interface") : null,
        dualStack: row.family === 4 ? false : (answers?.receivesBoth(row.protocol, row.state, row.local) ?? null),
        mptcp: answers?.mptcp ?? null,
        owners,
      });
    }
    const socket = listed.length === 0 && answers ? unlisted(inode, answers) : null;
    if (socket) sockets.push({ ...socket, owners });
  }
  return { sockets, otherRows: rows.filter(({ inode }) => !owned.has(inode)) };
}
