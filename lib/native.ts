import loadAddon from "#native";
import { toXFilterError } from "./errors.ts";

/** The addon's face. binding/node/ implements exactly this. */
export interface Native {
  /** Opens the image, finds the kernel. Runs on a thread of the addon's own pool. */
  attach(options: NativeAttachOptions): NativeJob<NativeGuest>;
  /** Connects to a UNIX socket: a non-blocking descriptor that is the caller's, and the process that listens, or 0. */
  connectUnix(path: string): { fd: number; pid: number };
  /** Makes the file where there is none. A descriptor that holds its lock until it is closed; null: another holds it. */
  lockFile(path: string): number | null;
  /** A profile's JSON. */
  makeProfile(files: NativeFiles): NativeJob<string>;
  /** Whether the ELF file at this path has DWARF and no BTF. */
  lacksBtf(path: string): NativeJob<boolean>;
  /**
   * Runs a program, in the C locale; a cancelled one is killed. Rejects with BACKEND_NOT_FOUND or BACKEND_FAILED, the message being
   * only the system's.
   */
  runProgram(program: NativeProgram): NativeJob<NativeEnded>;
  /** A domain of Xen as it is now; null: there is none of this id. Rejects with XEN_UNAVAILABLE, SOURCE_PERMISSION. */
  xenDomain(id: number): NativeJob<NativeDomain | null>;
  /** What xenstore has at this path; null: nothing. Rejects as `xenDomain` does. */
  xenstoreRead(path: string): NativeJob<string | null>;
  /** The names below this path; null: there is no such path. Rejects as `xenDomain` does. */
  xenstoreList(path: string): NativeJob<string[] | null>;
  /** Pauses are counted by Xen: each needs its own unpause. Rejects with SOURCE_GONE if the domain of this id is not this one, and as `xenDomain` does. */
  xenPause(domain: NativeDomainId): NativeJob<void>;
  xenUnpause(domain: NativeDomainId): NativeJob<void>;
}

/** One domain for as long as this machine runs: a guest that reboots keeps its uuid, and gets another id. */
export interface NativeDomainId {
  id: number;
  /** 32 hex digits. */
  uuid: string;
}

export interface NativeDomain extends NativeDomainId {
  /** By anybody. */
  paused: boolean;
  /** Why it has shut down, if it has. "suspend": it is being saved or migrated away. */
  shutdown: "poweroff" | "reboot" | "suspend" | "crash" | "watchdog" | "other" | null;
  dying: boolean;
}

/** Work that runs on a thread of the addon. After `cancel()` the promise rejects with the code ABORTED. */
export interface NativeJob<T> {
  readonly promise: Promise<T>;
  cancel(): void;
}

export interface NativeProgram {
  name: string;
  words: readonly string[];
  /** PATH of the program, in which it is looked for, too. */
  path: string;
  /** Null: none. */
  input: string | null;
  /** After which it is killed. */
  timeoutMs: number;
  /** In bytes; what it writes beyond that is thrown away. */
  maxOutput: number;
  maxMessages: number;
}

/** How a program ended: of status and signal one is null. */
export interface NativeEnded {
  status: number | null;
  signal: number | null;
  output: string;
  messages: string;
}

export interface NativeAttachOptions extends NativeFiles {
  /** Of an image. */
  path?: string;
  /** In place of an image: the process that runs the guest. */
  process?: NativeProcess;
  /** In place of an image: a domain of Xen. */
  domain?: NativeDomainToMap;
  /** Whether the process's kernel has to be seen to run: GUEST_CHANGED if it stands still. */
  running?: boolean;
  budgetMs: number;
  /** Where the guest's memory lies in the file; the file's header is not looked at. */
  memoryMap?: NativeMemoryMapEntry[];
}

export interface NativeProcess {
  pid: number;
  /** Where the guest's RAM lies in the process; without any, it is looked for. */
  regions: NativeRamRegion[];
}

export interface NativeDomainToMap extends NativeDomainId {
  /** Whether its pages stay mapped from walk to walk. */
  keepMappings: boolean;
}

/** Guest RAM at the guest-physical address `start`, at `host` in its process; in bytes. */
export interface NativeRamRegion {
  start: bigint;
  size: bigint;
  host: bigint;
}

/** Types and symbols from outside the guest. */
export interface NativeFiles {
  types?: NativeFile;
  symbols?: NativeFile;
  profile?: NativeFile;
}

export interface NativeFile {
  path: string;
  /** In place of the file's own bytes, where it had to be unpacked or converted. */
  content?: Uint8Array;
}

/** In bytes. */
export interface NativeMemoryMapEntry {
  start: bigint;
  size: bigint;
  offset: bigint;
}

export interface NativeGuest {
  readonly kernel: NativeKernel;
  /** A profile's JSON; undefined when closed. */
  readonly profile: string;
  walk(options: NativeWalkOptions & { details: boolean }): NativeJob<NativeSnapshot>;
  /** What each vCPU ran. */
  cpus(): NativeJob<NativeCpu[]>;
  watch(): NativeWatch;
  /** Throws SOURCE_GONE or SOURCE_TRUNCATED if the memory is no longer there; SOURCE_GONE too of a domain that has shut down other than to be saved. */
  requireIntact(): void;
  /** Frees the image; a running walk keeps it until it ends. */
  close(): void;
}

export interface NativeWalkOptions {
  budgetMs: number;
  /** Whether the guest stands still, so that nothing has to be read twice. */
  paused: boolean;
}

/** Walks over one guest. Keeps the last one's rows. */
export interface NativeWatch {
  /** What changed since the last poll, or from nothing; null: nothing did. One at a time. */
  poll(options: NativeWalkOptions): NativeJob<NativeDifference | null>;
  /** Goes on with another attach to the same guest. Not while a poll runs. */
  moveTo(guest: NativeGuest): void;
}

/** The two snapshots hold only rows that are named here, and the processes that own their sockets. */
export interface NativeDifference {
  before: NativeSnapshot;
  after: NativeSnapshot;
  processes: NativeChanges;
  sockets: NativeChanges;
}

export interface NativeChanges {
  /** Rows of `before`. */
  gone: Uint32Array;
  /** Rows of `after`. */
  came: Uint32Array;
  /** Element i of both: the same thing, before and after. */
  changedBefore: Uint32Array;
  changedAfter: Uint32Array;
}

export interface NativeKernel {
  format: "elf" | "xen" | "lime" | "raw" | "qemu";
  memoryBytes: bigint;
  architecture: "x86_64";
  release: string;
  banner: string;
  pagingLevels: 4 | 5;
  kaslrOffset: bigint;
  physBase: bigint;
  buildId: string | null;
  typesFrom: "guest" | "file";
  symbolsFrom: "guest" | "file";
  missing: { member: string; costs: string }[];
  steps: { name: string; how: string; found: string; elapsedNs: number }[];
}

/** A vCPU; `task` is null where its registers lead to none. */
export interface NativeCpu {
  index: number;
  userMode: boolean;
  rip: bigint;
  task: {
    cpu: number;
    pid: number;
    tid: number;
    comm: string;
    address: bigint;
    processes: number;
    listed: boolean;
  } | null;
}

/** What one walk saw, as columns: row i of a table is element i of each of its arrays. */
export interface NativeSnapshot {
  processes: NativeProcesses;
  sockets: NativeSockets;
  owners: NativeOwners;
  discrepancies: NativeDiscrepancies;
  otherSockets: NativeOtherSockets;
  otherOwners: NativeOwners;
  networkNamespaces: NativeNetworkNamespaces;
  networkDevices: NativeNetworkDevices;
  deviceAddresses: NativeDeviceAddresses;
  strings: NativeStrings;
  quality: NativeQuality;
}

/** A column that the kernel's layout lacks holds 0xffffffff (netns and pidns: 0). */
export interface NativeProcesses {
  count: number;
  /** Guest virtual address of the `task_struct`. */
  task: BigUint64Array;
  /** Nanoseconds since boot. */
  startTime: BigUint64Array;
  pid: Uint32Array;
  ppid: Uint32Array;
  uid: Uint32Array;
  euid: Uint32Array;
  suid: Uint32Array;
  fsuid: Uint32Array;
  gid: Uint32Array;
  egid: Uint32Array;
  sgid: Uint32Array;
  fsgid: Uint32Array;
  loginuid: Uint32Array;
  session: Uint32Array;
  sessionid: Uint32Array;
  nspid: Uint32Array;
  netns: Uint32Array;
  pidns: Uint32Array;
  threads: Uint32Array;
  /** Id of a string. */
  comm: Uint32Array;
  /** -1: not running. */
  cpu: Int32Array;
  /** ASCII letter of /proc/PID/stat. */
  state: Uint8Array;
  /** 1: kernel thread. */
  flags: Uint8Array;
  /** Id of a string, 0xffffffff where there is none; `args` is each argument with a NUL behind it. */
  cgroup: Uint32Array;
  /** The three are empty unless details were asked for. */
  exe: Uint32Array;
  args: Uint32Array;
  argsAbsent: Uint8Array;
}

export interface NativeSockets {
  count: number;
  /** Guest virtual address of the `sock`. */
  sock: BigUint64Array;
  inode: Float64Array;
  /** 0xffffffff: the kernel keeps none. */
  uid: Uint32Array;
  netns: Uint32Array;
  boundInterface: Uint32Array;
  /** Owners of row i are [ownersEnd[i - 1] ?? 0, ownersEnd[i]). */
  ownersEnd: Uint32Array;
  /** 16 bytes a row in network order; IPv4 in the first 4. */
  localAddress: Uint8Array;
  remoteAddress: Uint8Array;
  localPort: Uint16Array;
  remotePort: Uint16Array;
  /** Index into tcp, udp, udplite, raw, icmp. */
  protocol: Uint8Array;
  /** 4 or 6, the socket's own. */
  family: Uint8Array;
  /** The kernel's TCP state number. */
  state: Uint8Array;
  /** 1: owns IPv4 too, 2: MPTCP subflow, 4: the local address is IPv4, 8: the remote one is. */
  flags: Uint8Array;
  /** 0: it has an owner; else a number of UNOWNED_REASONS in socket.ts. */
  unownedReason: Uint8Array;
}

/** Processes that one of the kernel's lists has and the other has not. */
export interface NativeDiscrepancies {
  count: number;
  /** Row of processes. */
  process: Uint32Array;
  /** Index into DISCREPANCY_KINDS in discrepancy.ts. */
  kind: Uint8Array;
}

export interface NativeOtherSockets {
  count: number;
  sock: BigUint64Array;
  inode: Float64Array;
  netns: Uint32Array;
  /** Of otherOwners, as in sockets. */
  ownersEnd: Uint32Array;
  /** Index into OTHER_KINDS in other-socket.ts. */
  kind: Uint8Array;
}

export interface NativeNetworkNamespaces {
  count: number;
  /** 0: unknown. */
  inode: Uint32Array;
  /** Devices of row i are [devicesEnd[i - 1] ?? 0, devicesEnd[i]). */
  devicesEnd: Uint32Array;
  /** 1: the initial one, 2: that is unknown, 4: its devices are. */
  flags: Uint8Array;
}

export interface NativeNetworkDevices {
  count: number;
  index: Uint32Array;
  /** Id of a string. */
  name: Uint32Array;
  /** 6 bytes a row. */
  mac: Uint8Array;
  /** 1: has a MAC, 2: is a card, 4: that is unknown. */
  flags: Uint8Array;
  /** Of deviceAddresses, as `devicesEnd`. */
  addressesEnd: Uint32Array;
}

export interface NativeDeviceAddresses {
  count: number;
  /** 16 bytes a row in network order; IPv4 in the first 4. */
  address: Uint8Array;
  /** 4 or 6. */
  family: Uint8Array;
}

export interface NativeOwners {
  count: number;
  /** Row of processes. */
  process: Uint32Array;
  fd: Uint32Array;
}

/** String i is bytes [ends[i - 1] ?? 0, ends[i]), as they were in the guest. */
export interface NativeStrings {
  bytes: Uint8Array;
  ends: Uint32Array;
}

export interface NativeQuality {
  elapsedNs: number;
  processes: number;
  threads: number;
  fdTables: number;
  files: number;
  sockets: number;
  retries: number;
  torn: number;
  abandoned: number;
  badPointers: number;
  limited: number;
}

/** Loads the addon at its first use. Throws XFilterError ADDON_NOT_LOADED. */
export function loadNative(): Native {
  try {
    return loadAddon() as Native;
  } catch (cause) {
    throw toXFilterError(cause);
  }
}
