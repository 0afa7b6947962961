import type { Transcript } from "./transcript.ts";

export interface ProcessTruth {
  pid: number;
  ppid: number;
  comm: string;
  /** Hexadecimal: a process may call itself what is no UTF-8. */
  commBytes: string;
  uid: number;
  euid: number;
  suid: number;
  fsuid: number;
  gid: number;
  egid: number;
  sgid: number;
  fsgid: number;
  /** As in /proc/PID/stat; `null` for the recorder, which was running when it asked and slept when it was frozen. */
  state: string | null;
  kernelThread: boolean;
  threads: number;
  /** Clock ticks (1/100 s) since boot. */
  startTimeTicks: number;
  session: number;
  /** The audit session, as in /proc/PID/sessionid. */
  sessionid: number;
  loginuid: number;
  /** Of its main thread, or where that has exited, of another. `null` for zombies: they have none any more. */
  netns: number | null;
  pidns: number | null;
  nspid: number;
  /** Path in the hierarchy of version 2, as the guest's initial namespace sees it. */
  cgroup?: string | null;
  /** Path of its program, from its own file system's root; `null` where it has none: kernel threads, zombies. */
  exe?: string | null;
  /** `null` where there are none to have: kernel threads, zombies. */
  args?: string[] | null;
}

const kernelThreadFlag = 0x200000; // PF_KTHREAD of include/linux/sched.h

/**
 * The 15 bytes that lie in task_struct. /proc shows kernel threads with their full name (since Linux 5.17, commit
 * d6986ce24fc0) and workqueue workers with what they work on (commit 6b59808bfe48).
 */
export function shortComm(comm: Buffer, kernelThread: boolean): Buffer {
  if (!kernelThread) return comm;
  const worker = /^kworker\/u?\d+:\d+[A-Z]*(?=[-+]|$)/.exec(comm.toString("latin1"))?.[0];
  return comm.subarray(0, Math.min(15, worker?.length ?? 15));
}

function namespaceInode(target: string | undefined): number | null {
  const match = /\[(\d+)\]/.exec(target ?? "");
  return match ? Number(match[1]) : null;
}

/** What `details` adds. Transcripts of before they were recorded have none of it. */
function details(
  transcript: Transcript,
  pid: number,
  leaderless: boolean,
): Pick<ProcessTruth, "cgroup" | "exe" | "args"> {
  const file = (name: string) => transcript.files.get(`/proc/${pid}/${name}`);
  const cgroup = file("cgroup");
  if (!cgroup) return {};
  const group = { cgroup: /^0::(.*)$/m.exec(cgroup.toString())?.[1] ?? null };
  if (leaderless) return group; // shows neither, though its other threads have both
  const exe = file("exe")?.toString() ?? null;
  const args = (file("cmdline") ?? Buffer.alloc(0)).toString().split("\0").slice(0, -1);
  return { ...group, exe, args: exe === null ? null : args };
}

/** The first that /proc/PID/task names: the main thread's, as long as that lives. */
function networksByProcess(transcript: Transcript): Map<number, number | null> {
  const networks = new Map<number, number | null>();
  for (const [path, target] of transcript.links) {
    const pid = Number(/^\/proc\/(\d+)\/task\/\d+\/ns\/net$/.exec(path)?.[1]);
    if (pid && !networks.has(pid)) networks.set(pid, namespaceInode(target));
  }
  return networks;
}

function processTruth(transcript: Transcript, pid: number, netns: number | null): ProcessTruth {
  const file = (name: string) => transcript.files.get(`/proc/${pid}/${name}`) ?? Buffer.alloc(0);
  const stat = file("stat").toString("latin1");
  // The name may contain anything, parentheses and newlines too: what follows the last one is from the kernel.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]); // numbered as in proc_pid_stat(5)
  const status = file("status").toString("latin1");
  const numbers = (name: string) =>
    (new RegExp(`^${name}:\\t(.*)$`, "m").exec(status)?.[1] ?? "").trim().split(/\s+/).map(Number);
  const [uid = -1, euid = -1, suid = -1, fsuid = -1] = numbers("Uid");
  const [gid = -1, egid = -1, sgid = -1, fsgid = -1] = numbers("Gid");
  const kernelThread = (field(9) & kernelThreadFlag) !== 0;
  const comm = shortComm(file("comm").subarray(0, -1), kernelThread);
  const isRecorder = comm.toString() === "record";
  const threads = numbers("Threads")[0] ?? -1;
  return {
    pid,
    ppid: field(4),
    comm: comm.toString("utf8"),
    commBytes: comm.toString("hex"),
    ...{ uid, euid, suid, fsuid, gid, egid, sgid, fsgid },
    state: isRecorder ? null : (fields[0] ?? ""),
    kernelThread,
    threads,
    startTimeTicks: field(22),
    session: field(6),
    sessionid: Number(file("sessionid").toString()),
    loginuid: Number(file("loginuid").toString()),
    netns,
    pidns: namespaceInode(transcript.links.get(`/proc/${pid}/ns/pid`)),
    nspid: numbers("NSpid").at(-1) ?? -1,
    ...details(transcript, pid, fields[0] === "Z" && threads > 1),
  };
}

export function processTruths(transcript: Transcript): ProcessTruth[] {
  const pids = [...transcript.files.keys()].flatMap((path) => /^\/proc\/(\d+)\/stat$/.exec(path)?.[1] ?? []);
  const networks = networksByProcess(transcript);
  return pids.map(Number).map((pid) => processTruth(transcript, pid, networks.get(pid) ?? null));
}
