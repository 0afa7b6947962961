import type { Owner, Process, Snapshot, Socket } from "../../lib/index.ts";
import { isWhole } from "../../lib/quality.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";

// vmcore-fixtures/guest/live/live.h: users, and the ports that are each one's own. A user's first ports are long-lived.
const FIRST_UID = 1050;
const USERS = 12;
const PORTS = 100;
const FIRST_PORT = 25_000;
/** Of the long-lived, only these processes have children, who inherit what they hold. */
const BUSY_PORTS = [4, 5, 6, 7];

const isChurnUid = (uid: number | null) => uid !== null && uid >= FIRST_UID && uid < FIRST_UID + USERS;

/** Whose port it is; null when it is nobody's. */
export function userOfPort(port: number): number | null {
  const user = Math.floor((port - FIRST_PORT) / PORTS);
  return user >= 0 && user < USERS ? FIRST_UID + user : null;
}

/** A socket that is held through all of the churn, as the guest reports it: guest/live/long_lived.c. */
export interface LongLived {
  readonly pid: number;
  readonly fd: number;
  readonly inode: number;
  readonly uid: number;
  readonly protocol: string;
  readonly family: number;
  readonly state: string;
  readonly localPort: number;
  readonly remotePort: number;
}

export function parseLongLived(report: string): LongLived[] {
  return report
    .trim()
    .split("\n")
    .map((line) => {
      const [pid, fd, inode, uid, protocol, family, state, localPort, remotePort] = line.split(" ");
      return {
        ...{ pid: Number(pid), fd: Number(fd), inode: Number(inode), uid: Number(uid), protocol: protocol! },
        ...{ family: Number(family), state: state!, localPort: Number(localPort), remotePort: Number(remotePort) },
      };
    });
}

/** What is wrong in one snapshot of a churning guest, a line each. */
export interface Findings {
  /** What is a user's was given to another: a port to a process, a `sk_uid` or a remote port, or ids to a process. */
  readonly falseAttributions: string[];
  /** Long-lived sockets and processes that are not there, or are there as another's. */
  readonly missing: string[];
  /** Those of them that are missing though the walk's quality says that nothing was left out. */
  readonly untold: string[];
  /** Processes that one of the kernel's lists has and the other has not: in an honest guest there are none. */
  readonly discrepancies: string[];
}

const ids = ({ uid, euid, suid, fsuid }: Process) => [uid, euid, suid, fsuid];
const shown = ({ protocol, local, remote, inode }: Socket) =>
  `${protocol} ${local.address}:${local.port} → ${remote.address}:${remote.port} (inode ${inode})`;

function falseAttribution(snapshot: Snapshot, socket: Socket, owners: readonly Owner[]): string[] {
  // What a ping socket has for a port is an identifier, and the kernel's choice.
  const user = ["tcp", "udp"].includes(socket.protocol) ? userOfPort(socket.local.port) : null;
  const found: string[] = [];
  for (const { pid, fd, comm } of owners) {
    const whose = ids(snapshot.process(pid)!);
    const holder = whose.find(isChurnUid);
    const wrong = user !== null ? whose.some((id) => id !== user) : holder !== undefined;
    if (wrong) found.push(`${shown(socket)} given to ${comm} ${pid}/${fd} of uids ${whose}`);
  }
  if (user === null) return found;
  if (socket.uid !== null && socket.uid !== user) found.push(`${shown(socket)} has uid ${socket.uid}`);
  const peer = userOfPort(socket.remote.port);
  if (socket.remote.port !== 0 && peer !== user) found.push(`${shown(socket)} leads to a port of ${peer}`);
  return found;
}

function longLivedMissing(expected: LongLived, rows: readonly Socket[], owners: (socket: Socket) => readonly Owner[]) {
  const { pid, fd, inode, uid, protocol, family, state, localPort, remotePort } = expected;
  const name = `${protocol} port ${localPort} of ${pid}/${fd} (uid ${uid}, inode ${inode})`;
  const row = rows.find((socket) => socket.inode === inode);
  if (!row) return [`${name}: missing`];
  const actual = [row.protocol, row.family, row.state, row.local.port, row.remote.port, row.uid];
  if (`${actual}` !== `${[protocol, family, state, localPort, remotePort, uid]}`) return [`${name}: is ${actual}`];
  const holders = owners(row).filter((owner) => owner.pid === pid);
  if (holders.length !== 1 || holders[0]!.fd !== fd || holders[0]!.uid !== uid)
    return [`${name}: its process holds ${JSON.stringify(holders)}`];
  const others = owners(row).length - 1;
  return others > 0 && !BUSY_PORTS.includes(localPort % PORTS) ? [`${name}: has ${others} more owners`] : [];
}

/** Holds every snapshot of a guest to what its churn promises, and to what stood still in it before that began. */
export class ChurnJudge {
  private readonly longLived: readonly LongLived[];
  private readonly still: { pids: number[]; sockets: { inode: number; owners: string }[] };

  constructor(longLived: readonly LongLived[], before: Truth) {
    this.longLived = longLived;
    const lasting = before.processes.filter(({ kernelThread, comm }) => !kernelThread && comm !== "record");
    const pids = lasting.map(({ pid }) => pid);
    const held = before.sockets.filter(
      ({ inode, owners, local }) => inode !== 0 && local.port !== 0 && owners.length > 0,
    );
    this.still = { pids, sockets: held.map(({ inode, owners }) => ({ inode, owners: JSON.stringify(owners) })) };
  }

  judge(snapshot: Snapshot): Findings {
    const falseAttributions: string[] = [];
    const byInode = new Map<number, Socket[]>();
    const ownersOf = new Map<Socket, readonly Owner[]>();
    for (const socket of snapshot.sockets) {
      if (socket.local.port === 0) continue; // of no user, so whoever holds it may
      const { owners, inode } = socket;
      ownersOf.set(socket, owners);
      falseAttributions.push(...falseAttribution(snapshot, socket, owners));
      const rows = byInode.get(inode);
      if (rows) rows.push(socket);
      else byInode.set(inode, [socket]);
    }
    for (const process of snapshot.processes) {
      const whose = ids(process);
      if (whose.some(isChurnUid) && new Set(whose).size > 1)
        falseAttributions.push(`process ${process.pid} (${process.comm}) has uids ${whose}`);
    }
    const owners = (socket: Socket) => ownersOf.get(socket) ?? [];
    const missing = this.longLived.flatMap((held) => longLivedMissing(held, byInode.get(held.inode) ?? [], owners));
    for (const pid of this.still.pids) if (!snapshot.process(pid)) missing.push(`process ${pid}: missing`);
    for (const { inode, owners: expected } of this.still.sockets) {
      const row = byInode.get(inode)?.[0];
      const actual = row && JSON.stringify(owners(row).map(({ pid, fd }) => ({ pid, fd })));
      if (actual !== expected) missing.push(`socket ${inode}, held by ${expected}: is held by ${actual}`);
    }
    const discrepancies = snapshot.discrepancies.map(({ kind, process: { pid, comm } }) => `${kind}: ${pid} (${comm})`);
    return { falseAttributions, missing, untold: isWhole(snapshot.quality) ? missing : [], discrepancies };
  }
}
