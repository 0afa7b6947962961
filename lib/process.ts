import { hex } from "./address.ts";
import type { NativeProcesses } from "./native.ts";
import type { StringTable } from "./strings.ts";

/**
 * A process of the guest, as its `task_struct` told. Ids are those of the guest's initial namespaces.
 *
 * An id is null where the guest's kernel has no such member (see `kernel.missing`).
 */
export interface Process {
  readonly pid: number;
  /** Parent's pid; 0 for the first processes. */
  readonly ppid: number | null;
  /**
   * Command name: at most 15 bytes that the process chose itself, decoded as UTF-8 with U+FFFD for what does not
   * decode. Escape it where you print it.
   */
  readonly comm: string;
  /** Real user id. */
  readonly uid: number | null;
  /** Effective user id. */
  readonly euid: number | null;
  /** Saved user id. */
  readonly suid: number | null;
  /** User id for file access. */
  readonly fsuid: number | null;
  /** Real group id. */
  readonly gid: number | null;
  /** Effective group id. */
  readonly egid: number | null;
  /** Saved group id. */
  readonly sgid: number | null;
  /** Group id for file access. */
  readonly fsgid: number | null;
  /** User who logged in, kept through su and sudo; 4294967295: nobody did. */
  readonly loginuid: number;
  /** Session id, the pid of the session's leader; 0 for kernel threads. */
  readonly session: number | null;
  /** Audit session id; 4294967295: unset. */
  readonly sessionid: number;
  /** Letter of `/proc/PID/stat`: R running, S sleeping, D disk sleep, T stopped, t traced, Z zombie, I idle … */
  readonly state: string;
  readonly kernelThread: boolean;
  /** Number of threads, the main one included. */
  readonly threads: number;
  /** Nanoseconds from the guest's boot to the process's start. */
  readonly startTime: bigint;
  /** Pid in the process's own pid namespace. */
  readonly nspid: number | null;
  /** Inode number of the network namespace; null for a zombie, which has none any more, or when it is unknown. */
  readonly netns: number | null;
  /** Inode number of the pid namespace; null when it is unknown. */
  readonly pidns: number | null;
  /** CPU that it runs on; null: it does not run. */
  readonly cpu: number | null;
  /** Guest virtual address of the `task_struct`. */
  readonly task: bigint;
  /** Path of its group in the cgroup v2 hierarchy; null when it is unknown. Escape it where you print it. */
  readonly cgroup: string | null;
  /** The 64 hexadecimal digits by which container engines name groups, where the cgroup's path holds such. */
  readonly containerId: string | null;
  /**
   * Path of its program, as `/proc/PID/exe` has it: "… (deleted)" when the file is gone; null for kernel threads and
   * what has exited. undefined unless the snapshot was taken with `details`. Escape it where you print it.
   */
  readonly exe: string | null | undefined;
  /** Its arguments; null where it has none or they are absent. undefined unless taken with `details`. Escape them. */
  readonly args: readonly string[] | null | undefined;
  /**
   * Whether its arguments are not known: their pages are swapped out or left out of the image, or all processes' together
   * are more than is kept (64 MiB; counted in `quality.limited`).
   */
  readonly argsAbsent: boolean | undefined;
  toJSON(): ProcessJson;
}

/**
 * A process in JSON, one line of `xfilter ps --json`. The fields and their order are a contract under SemVer;
 * more may be added at the end. `startTime` is a decimal string, `task` a hex string. `exe`, `args` and `argsAbsent` are
 * there when they were asked for.
 */
export interface ProcessJson extends Omit<Process, "startTime" | "task" | "exe" | "args" | "argsAbsent" | "toJSON"> {
  readonly startTime: string;
  readonly task: string;
  readonly exe?: Process["exe"];
  readonly args?: Process["args"];
  readonly argsAbsent?: Process["argsAbsent"];
}

const MISSING = 0xffffffff;
const CONTAINER_ID = /(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g;
const KERNEL_THREAD = 1;

/** @internal One row of the columns. */
export class ProcessRow implements Process {
  readonly #columns: NativeProcesses;
  readonly #strings: StringTable;
  readonly #row: number;

  constructor(columns: NativeProcesses, strings: StringTable, row: number) {
    this.#columns = columns;
    this.#strings = strings;
    this.#row = row;
  }

  #id(column: Uint32Array): number | null {
    const id = column[this.#row]!;
    return id === MISSING ? null : id;
  }

  get pid() {
    return this.#columns.pid[this.#row]!;
  }
  get ppid() {
    return this.#id(this.#columns.ppid);
  }
  get comm() {
    return this.#strings.at(this.#columns.comm[this.#row]!);
  }
  get uid() {
    return this.#id(this.#columns.uid);
  }
  get euid() {
    return this.#id(this.#columns.euid);
  }
  get suid() {
    return this.#id(this.#columns.suid);
  }
  get fsuid() {
    return this.#id(this.#columns.fsuid);
  }
  get gid() {
    return this.#id(this.#columns.gid);
  }
  get egid() {
    return this.#id(this.#columns.egid);
  }
  get sgid() {
    return this.#id(this.#columns.sgid);
  }
  get fsgid() {
    return this.#id(this.#columns.fsgid);
  }
  get loginuid() {
    return this.#columns.loginuid[this.#row]!;
  }
  get session() {
    return this.#id(this.#columns.session);
  }
  get sessionid() {
    return this.#columns.sessionid[this.#row]!;
  }
  get state() {
    return String.fromCharCode(this.#columns.state[this.#row]!);
  }
  get kernelThread() {
    return (this.#columns.flags[this.#row]! & KERNEL_THREAD) !== 0;
  }
  get threads() {
    return this.#columns.threads[this.#row]!;
  }
  get startTime() {
    return this.#columns.startTime[this.#row]!;
  }
  get nspid() {
    return this.#id(this.#columns.nspid);
  }
  get netns() {
    return this.#columns.netns[this.#row]! || null;
  }
  get pidns() {
    return this.#columns.pidns[this.#row]! || null;
  }
  get cpu() {
    const cpu = this.#columns.cpu[this.#row]!;
    return cpu < 0 ? null : cpu;
  }
  get task() {
    return this.#columns.task[this.#row]!;
  }

  get cgroup() {
    const id = this.#id(this.#columns.cgroup);
    return id === null ? null : this.#strings.at(id);
  }
  get containerId() {
    // The innermost: a container may run containers.
    return this.cgroup?.match(CONTAINER_ID)?.at(-1) ?? null;
  }
  get exe() {
    return this.#detail(this.#columns.exe);
  }
  get args() {
    const text = this.#detail(this.#columns.args);
    return typeof text === "string" ? text.split("\0").slice(0, -1) : text;
  }
  get argsAbsent() {
    const absent = this.#columns.argsAbsent[this.#row];
    return absent === undefined ? undefined : absent !== 0;
  }
  /** undefined: not asked for, the column is empty. */
  #detail(column: Uint32Array): string | null | undefined {
    const id = column[this.#row];
    if (id === undefined) return undefined;
    return id === MISSING ? null : this.#strings.at(id);
  }

  toJSON(): ProcessJson {
    const { exe, args, argsAbsent } = this;
    // One literal: a spread costs more than all the fields, and a listing has thousands of rows.
    const json: ProcessJson = {
      pid: this.pid,
      ppid: this.ppid,
      comm: this.comm,
      uid: this.uid,
      euid: this.euid,
      suid: this.suid,
      fsuid: this.fsuid,
      gid: this.gid,
      egid: this.egid,
      sgid: this.sgid,
      fsgid: this.fsgid,
      loginuid: this.loginuid,
      session: this.session,
      sessionid: this.sessionid,
      state: this.state,
      kernelThread: this.kernelThread,
      threads: this.threads,
      startTime: String(this.startTime),
      nspid: this.nspid,
      netns: this.netns,
      pidns: this.pidns,
      cpu: this.cpu,
      task: hex(this.task),
      cgroup: this.cgroup,
      containerId: this.containerId,
    };
    return exe === undefined ? json : { ...json, exe, args, argsAbsent };
  }

  [Symbol.for("nodejs.util.inspect.custom")](): Partial<Process> {
    return { ...this.toJSON(), startTime: this.startTime, task: this.task };
  }
}
