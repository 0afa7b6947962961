import type { ProcessJson, SocketJson } from "../../lib/index.ts";
import type { ProcessTruth } from "../../vmcore-fixtures/process-truth.ts";
import type { SocketTruth } from "../../vmcore-fixtures/socket-truth.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";

/** What a reader said of the same guest. */
export interface Reading {
  processes: readonly ProcessJson[];
  sockets: readonly SocketJson[];
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
  const { commBytes: _, startTimeTicks, state, ...fields } = truth;
  const subject = `process ${truth.pid} (${JSON.stringify(truth.comm)})`;
  const ticks = Number(BigInt(read.startTime) / 10_000_000n);
  return fieldDifferences(
    subject,
    { ...fields, startTimeTicks, state: sameState(truth, read) ? read.state : state },
    { ...read, startTimeTicks: ticks },
  );
}

function comparableSocket(socket: SocketTruth | SocketJson): Values {
  const { protocol, family, state, local, remote, uid, inode, netns, dualStack, mptcp } = socket;
  const owners = socket.owners.map(({ pid, fd }) => ({ pid, fd })).sort((a, b) => a.pid - b.pid || a.fd - b.fd);
  return { protocol, family, state, local, remote, uid, inode, netns, dualStack, mptcp, owners };
}

function socketDifferences(truth: SocketTruth, read: SocketJson): string[] {
  const known = { ...comparableSocket(truth), boundInterface: truth.boundInterface };
  for (const [field, value] of Object.entries(known)) if (value === null) delete (known as Values)[field];
  const boundInterface = read.boundInterface ?? 0; // "none" is null there, 0 here
  return fieldDifferences(`socket inode ${truth.inode}`, known, { ...comparableSocket(read), boundInterface });
}

const described = ({ protocol, local, remote, owners }: SocketTruth | SocketJson) => {
  const ends = [local, remote].map((end) => (end ? `${end.address}:${end.port}` : "?")).join(" → ");
  return `${protocol} ${ends}, held by ${owners.map(({ pid, fd }) => `${pid}/${fd}`).join(" ")}`;
};

function grouped<T extends { inode: number }>(sockets: readonly T[]): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const socket of sockets) groups.set(socket.inode, [...(groups.get(socket.inode) ?? []), socket]);
  return groups;
}

/** The subflows of an MPTCP socket share its inode: then it is the tuple that says which is which. */
function takeMatch(truth: SocketTruth, candidates: SocketJson[]): SocketJson | undefined {
  const ends = ({ local, remote }: SocketTruth | SocketJson) => JSON.stringify([local, remote]);
  const exact = candidates.findIndex((candidate) => ends(candidate) === ends(truth));
  return candidates.splice(Math.max(exact, 0), 1)[0];
}

/** Everything in which a reading differs from the truth, one line each. Sockets that no process holds do not count. */
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

  const sockets = grouped(reading.sockets.filter(({ owners }) => owners.length > 0));
  for (const socket of truth.sockets) {
    const read = takeMatch(socket, sockets.get(socket.inode) ?? []);
    if (read) differences.push(...socketDifferences(socket, read));
    else differences.push(`socket inode ${socket.inode}: missing (${described(socket)})`);
  }
  for (const socket of [...sockets.values()].flat())
    differences.push(`socket inode ${socket.inode}: is not in the truth (${described(socket)})`);
  return differences;
}
