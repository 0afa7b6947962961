import type { NativeProcesses, NativeQuality, NativeSnapshot, NativeSockets } from "../native.ts";

/** A process as a test writes it: what it does not name has a harmless value. */
export interface ProcessCells {
  pid: number;
  comm?: string | Uint8Array;
  columns?: Partial<Record<keyof NativeProcesses, number | bigint>>;
}

/** A socket as a test writes it; addresses are bytes. */
export interface SocketCells {
  local?: readonly number[];
  remote?: readonly number[];
  owners?: readonly { pid: number; fd: number }[];
  columns?: Partial<Record<keyof NativeSockets, number | bigint>>;
}

const PROCESS_DEFAULTS = {
  state: "S".charCodeAt(0),
  threads: 1,
  cpu: -1,
  loginuid: 0xffffffff,
  sessionid: 0xffffffff,
  cgroup: 0xffffffff,
};
const SOCKET_DEFAULTS = { family: 4, state: 7, flags: 12 };

/** The addon's columns for hand-made rows. */
export function columns(processes: readonly ProcessCells[], sockets: readonly SocketCells[] = []): NativeSnapshot {
  const strings = stringTable(processes.map(({ comm = "" }) => comm));
  const processRows = processes.map(({ pid, columns }, i) => ({ ...PROCESS_DEFAULTS, pid, comm: i, ...columns }));
  const owners = sockets.flatMap(({ owners = [] }) => owners);
  let end = 0;
  const socketRows = sockets.map(({ owners = [], columns }) => {
    end += owners.length;
    return { ...SOCKET_DEFAULTS, ownersEnd: end, ...columns };
  });
  return {
    processes: {
      ...{ count: processes.length, ...fill(PROCESS_COLUMNS, processRows) },
      ...{ exe: new Uint32Array(), args: new Uint32Array(), argsAbsent: new Uint8Array() },
    },
    sockets: {
      count: sockets.length,
      ...fill(SOCKET_COLUMNS, socketRows),
      localAddress: addresses(sockets.map(({ local = [] }) => local)),
      remoteAddress: addresses(sockets.map(({ remote = [] }) => remote)),
    },
    owners: {
      count: owners.length,
      process: Uint32Array.from(owners, (owner) => processes.findIndex(({ pid }) => pid === owner.pid)),
      fd: Uint32Array.from(owners, ({ fd }) => fd),
    },
    discrepancies: { count: 0, process: new Uint32Array(), kind: new Uint8Array() },
    otherSockets: {
      ...{ count: 0, sock: new BigUint64Array(), inode: new Float64Array(), netns: new Uint32Array() },
      ...{ ownersEnd: new Uint32Array(), kind: new Uint8Array() },
    },
    otherOwners: { count: 0, process: new Uint32Array(), fd: new Uint32Array() },
    ...networkColumns(),
    strings,
    quality: QUALITY,
  };
}

export const QUALITY: NativeQuality = {
  ...{ elapsedNs: 1000, processes: 0, threads: 0, fdTables: 0, files: 0, sockets: 0 },
  ...{ retries: 0, torn: 0, abandoned: 0, badPointers: 0, limited: 0 },
};

/** A network namespace as a test writes it; flags are the columns'. */
export interface NamespaceCells {
  inode?: number;
  flags?: number;
  devices?: readonly {
    name?: number;
    index?: number;
    mac?: readonly number[];
    flags?: number;
    addresses?: readonly { family: number; bytes: readonly number[] }[];
  }[];
}

/** Of network namespaces; names are ids of strings. */
export function networkColumns(namespaces: readonly NamespaceCells[] = []) {
  const devices = namespaces.flatMap(({ devices = [] }) => devices);
  const found = devices.flatMap(({ addresses = [] }) => addresses);
  const ends = (counts: readonly number[]) => {
    let end = 0;
    return Uint32Array.from(counts, (count) => {
      end += count;
      return end;
    });
  };
  return {
    networkNamespaces: {
      count: namespaces.length,
      inode: Uint32Array.from(namespaces, ({ inode = 0 }) => inode),
      devicesEnd: ends(namespaces.map(({ devices = [] }) => devices.length)),
      flags: Uint8Array.from(namespaces, ({ flags = 0 }) => flags),
    },
    networkDevices: {
      count: devices.length,
      index: Uint32Array.from(devices, ({ index = 1 }) => index),
      name: Uint32Array.from(devices, ({ name = 0 }) => name),
      mac: Uint8Array.from(devices.flatMap(({ mac = [0, 0, 0, 0, 0, 0] }) => mac)),
      flags: Uint8Array.from(devices, ({ flags = 0 }) => flags),
      addressesEnd: ends(devices.map(({ addresses = [] }) => addresses.length)),
    },
    deviceAddresses: {
      count: found.length,
      address: addresses(found.map(({ bytes }) => bytes)),
      family: Uint8Array.from(found, ({ family }) => family),
    },
  };
}

const u8 = (values: number[]) => Uint8Array.from(values);
const u16 = (values: number[]) => Uint16Array.from(values);
const u32 = (values: number[]) => Uint32Array.from(values);
const i32 = (values: number[]) => Int32Array.from(values);
const f64 = (values: number[]) => Float64Array.from(values);
const u64 = (values: (number | bigint)[]) => BigUint64Array.from(values, BigInt);

const PROCESS_COLUMNS = {
  ...{ task: u64, startTime: u64, pid: u32, ppid: u32, uid: u32, euid: u32, suid: u32, fsuid: u32, gid: u32 },
  ...{ egid: u32, sgid: u32, fsgid: u32, loginuid: u32, session: u32, sessionid: u32, nspid: u32, netns: u32 },
  ...{ pidns: u32, threads: u32, comm: u32, cpu: i32, state: u8, flags: u8, cgroup: u32 },
};
const SOCKET_COLUMNS = {
  ...{ sock: u64, inode: f64, uid: u32, netns: u32, boundInterface: u32, ownersEnd: u32 },
  ...{ localPort: u16, remotePort: u16, protocol: u8, family: u8, state: u8, flags: u8, unownedReason: u8 },
};

type Make = (values: never[]) => unknown;

function fill<Columns extends Record<string, Make>>(columns: Columns, rows: readonly object[]) {
  const filled = Object.entries(columns).map(([name, make]) => [
    name,
    make(rows.map((row) => (row as Record<string, unknown>)[name] ?? 0) as never[]),
  ]);
  return Object.fromEntries(filled) as { [Name in keyof Columns]: ReturnType<Columns[Name]> };
}

/** Rows of 16 bytes, filled up with zeros. */
function addresses(rows: readonly (readonly number[])[]): Uint8Array {
  return Uint8Array.from(rows.flatMap((row) => [...row, ...Array<number>(16 - row.length).fill(0)]));
}

function stringTable(strings: readonly (string | Uint8Array)[]) {
  const parts = strings.map((string) => (typeof string === "string" ? Buffer.from(string) : string));
  let end = 0;
  const ends = Uint32Array.from(parts, (part) => {
    end += part.length;
    return end;
  });
  return { bytes: new Uint8Array(Buffer.concat(parts)), ends };
}
