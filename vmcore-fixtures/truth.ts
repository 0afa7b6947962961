import { type ProcessTruth, processTruths, shortComm } from "./process-truth.ts";
import { type OtherSocketTruth, otherSocketTruths, type SocketTruth, socketTruths } from "./socket-truth.ts";
import { readTranscript, type Transcript } from "./transcript.ts";

/** truth.json: what the guest itself said of its processes and sockets right before it was frozen. */
export interface Truth {
  guest: { release: string; version: string; bootId: string; commandLine: string; modules: string[] };
  processes: ProcessTruth[];
  /** One for each sock: first those that a process holds, then those that nobody does. */
  sockets: SocketTruth[];
  /** What processes hold beside them, and can send with. */
  otherSockets: OtherSocketTruth[];
  /** Kernel workers that came or went while the truth was recorded. */
  unstable: { pid: number; comm: string }[];
}

function unstableWorkers(transcript: Transcript, processes: readonly ProcessTruth[]): Truth["unstable"] {
  const first = new Map(processes.map(({ pid, comm }) => [pid, comm]));
  const last = new Map([...transcript.last].map(([pid, comm]) => [pid, shortComm(comm, true).toString()]));
  const differing = [...new Set([...first.keys(), ...last.keys()])].filter((pid) => !first.has(pid) || !last.has(pid));
  return differing.map((pid) => {
    const comm = first.get(pid) ?? last.get(pid) ?? "";
    if (!comm.startsWith("kworker/")) throw new Error(`The guest did not stand still: process ${pid} (${comm})`);
    return { pid, comm };
  });
}

export function parseTranscript(bytes: Buffer): Truth {
  const transcript = readTranscript(bytes);
  const text = (path: string) => transcript.files.get(path)?.toString().trim() ?? "";
  const processes = processTruths(transcript);
  return {
    guest: {
      release: text("/proc/sys/kernel/osrelease"),
      version: text("/proc/version"),
      bootId: text("/proc/sys/kernel/random/boot_id"),
      commandLine: text("/proc/cmdline"),
      modules: text("/proc/modules")
        .split("\n")
        .map((line) => line.split(" ")[0] ?? ""),
    },
    processes,
    sockets: socketTruths(transcript),
    otherSockets: otherSocketTruths(transcript),
    unstable: unstableWorkers(transcript, processes),
  };
}
