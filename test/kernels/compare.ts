import type { OtherSocketJson, ProcessJson, SocketJson } from "../../lib/index.ts";
import type { ProcessTruth } from "../../vmcore-fixtures/process-truth.ts";
import type { OtherSocketTruth, SocketTruth } from "../../vmcore-fixtures/socket-truth.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";

/** What a reader said of the same guest. */
export interface Reading {
  processes: readonly ProcessJson[];
  sockets: readonly SocketJson[];
  otherSockets: readonly OtherSocketJson[];
}

type Values = Record<string, unknown>;

/** One line for each field in which the two differ. A field of which the truth is not known is left out by the caller. */
function fieldDifferences(subject: string, truth: Values, read: Values): string[] {
  return Object.keys(truth).flatMap((field) => {
    const [expected, actual] = [JSON.stringify(truth[field]), JSON.stringify(read[field] ?? null)];
    return expected === actual ? [] : [`${subject}: ${field}: truth ${expected}, read ${actual}`];
  });
}

/** A kernel thread may have run in the milliseconds between its record and the freeze. */
function sameState(truth: ProcessTruth, read: ProcessJson): boolean {
  const onceRunning = truth.state === "R" || read.state === "R";
  return truth.state === null || truth.state === read.state || (truth.kernelThread && onceRunning);
}

function processDifferences(truth: ProcessTruth, read: ProcessJson): string[] {
  const { commBytes: _, startTimeTicks, state, cgroup, exe, args, ...always } = truth;
  // What `details` adds is compared if it was asked for, and the truth has it.
  const details = Object.entries({ cgroup, exe, args }).filter(([name, value]) => name in read && value !== undefined);
  const fields = { ...always, ...Object.fromEntries(details) };
  const subject = `process ${truth.pid} (${JSON.stringify(truth.comm)})`;
  const ticks = Number(BigInt(read.startTime) / 10_000_000n);
  return fieldDifferences(
    subject,
    { ...fields, startTimeTicks, state: sameState(truth, read) ? read.state : state },
    { ...read, startTimeTicks: ticks },
  );
}

type Holder = { pid: number; fd: number };

const sortedOwners = (owners: readonly Holder[]) =>
  owners.map(({ pid, fd }) => ({ pid, fd })).sort((a, b) => a.pid - b.pid || a.fd - b.fd);

function comparableSocket(socket: SocketTruth | SocketJson): Values {
  const { protocol, family, state, local, remote, uid, inode, netns, dualStack, mptcp, unownedReason } = socket;
  const fields = { protocol, family, state, local, remote, uid, inode, netns, dualStack, mptcp, unownedReason };
  return { ...fields, owners: sortedOwners(socket.owners) };
}

function socketDifferences(truth: SocketTruth, read: SocketJson): string[] {
  const known = { ...comparableSocket(truth), boundInterface: truth.boundInterface };
  const certain = ["unownedReason", ...(truth.unownedReason === "time-wait" ? ["uid"] : [])]; // null says: there is none
  for (const [field, value] of Object.entries(known))
    if (value === null && !certain.includes(field)) delete (known as Values)[field];
  const boundInterface = read.boundInterface ?? 0; // "none" is null there, 0 here
  const subject = truth.inode === 0 ? `socket ${ends(truth)}` : `socket inode ${truth.inode}`;
  return fieldDifferences(subject, known, { ...comparableSocket(read), boundInterface });
}

const ends = ({ protocol, local, remote }: SocketTruth | SocketJson) =>
  `${protocol} ${[local, remote].map((end) => (end ? `${end.address}:${end.port}` : "?")).join(" → ")}`;

const described = (socket: SocketTruth | SocketJson) => {
  const holders = socket.owners.map(({ pid, fd }) => `${pid}/${fd}`).join(" ");
  return `${ends(socket)}, ${holders ? `held by ${holders}` : `by nobody: ${socket.unownedReason}`}`;
};

/** What a sock of the truth is found by: its inode, or without one what it connects. */
const identity = (socket: SocketTruth | SocketJson) =>
  socket.inode !== 0 ? `${socket.inode}` : `${socket.netns} ${socket.family} ${ends(socket)}`;

function grouped(sockets: readonly SocketJson[]): Map<string, SocketJson[]> {
  const groups = new Map<string, SocketJson[]>();
  for (const socket of sockets) {
    const group = groups.get(identity(socket));
    if (group) group.push(socket);
    else groups.set(identity(socket), [socket]);
  }
  return groups;
}

/** The subflows of an MPTCP socket share its inode: then it is the tuple that says which is which. */
function takeMatch(truth: SocketTruth, candidates: SocketJson[]): SocketJson | undefined {
  const exact = candidates.findIndex((candidate) => ends(candidate) === ends(truth));
  return candidates.splice(Math.max(exact, 0), 1)[0];
}

function otherSocketDifferences(truth: readonly OtherSocketTruth[], read: readonly OtherSocketJson[]): string[] {
  const lines = (sockets: readonly (OtherSocketTruth | OtherSocketJson)[]) =>
    sockets.map(
      ({ kind, inode, netns, owners }) =>
        `${kind} socket ${inode} in ${netns} of ${JSON.stringify(sortedOwners(owners))}`,
    );
  const [expected, actual] = [lines(truth), lines(read)];
  return [
    ...expected.filter((line) => !actual.includes(line)).map((line) => `${line}: missing`),
    ...actual.filter((line) => !expected.includes(line)).map((line) => `${line}: is not in the truth`),
    ...(new Set(actual).size < actual.length ? ["other sockets: one is there more than once"] : []),
  ];
}

/** Everything in which a reading differs from the truth, one line each. */
export function compare(truth: Truth, reading: Reading): string[] {
  const differences: string[] = [];
  const unstable = new Set(truth.unstable.map(({ pid }) => pid));
  const processes = new Map(reading.processes.map((process) => [process.pid, process]));
  if (processes.size !== reading.processes.length) differences.push("processes: a pid is there more than once");
  for (const process of truth.processes) {
    const read = processes.get(process.pid);
    processes.delete(process.pid);
    if (unstable.has(process.pid)) continue;
    if (read) differences.push(...processDifferences(process, read));
    else differences.push(`process ${process.pid} (${JSON.stringify(process.comm)}): missing`);
  }
  for (const { pid, comm } of processes.values())
    if (!unstable.has(pid)) differences.push(`process ${pid} (${JSON.stringify(comm)}): is not in the truth`);

  const sockets = grouped(reading.sockets);
  for (const socket of truth.sockets) {
    const read = takeMatch(socket, sockets.get(identity(socket)) ?? []);
    if (read) differences.push(...socketDifferences(socket, read));
    else differences.push(`socket inode ${socket.inode}: missing (${described(socket)})`);
  }
  for (const socket of [...sockets.values()].flat())
    differences.push(`socket inode ${socket.inode}: is not in the truth (${described(socket)})`);
  differences.push(...otherSocketDifferences(truth.otherSockets, reading.otherSockets));
  return differences;
}
