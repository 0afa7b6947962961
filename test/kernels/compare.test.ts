import { expect, it } from "vitest";
import type { OtherSocketJson, ProcessJson, SocketJson } from "../../lib/index.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";
import { compare, type Reading } from "./compare.ts";

const ids = { uid: 0, euid: 0, suid: 0, fsuid: 0, gid: 0, egid: 0, sgid: 0, fsgid: 0 };
const process = {
  ...{ pid: 7, ppid: 1, comm: "nc", ...ids, state: "S", kernelThread: false, threads: 1, session: 7 },
  ...{ sessionid: 1, loginuid: 2, netns: 3, pidns: 4, nspid: 7 },
};
const socket = {
  protocol: "tcp" as const,
  family: 4 as const,
  state: "CLOSE_WAIT" as const,
  ...{ uid: 0, inode: 9, netns: 3, dualStack: false, mptcp: false },
  ...{ local: { address: "10.0.2.15", port: 22 }, remote: { address: "192.0.2.1", port: 44 } },
  owners: [{ pid: 7, fd: 3 }],
};

const truth = (): Truth => ({
  guest: { release: "6.1.0", version: "", bootId: "", commandLine: "", modules: [] },
  processes: [{ ...process, commBytes: "6e63", startTimeTicks: 123 }],
  sockets: [{ ...socket, boundInterface: 0, owners: [{ pid: 7, fd: 3 }], unownedReason: null }],
  otherSockets: [{ kind: "packet", inode: 12, netns: 3, owners: [{ pid: 7, fd: 4 }] }],
  unstable: [],
});
const readProcess = (changes: Partial<ProcessJson> = {}): ProcessJson => ({
  ...{ ...process, startTime: "1239999999", cpu: null, task: "0xffff888000000000" },
  ...{ cgroup: null, containerId: null },
  ...changes,
});
const readSocket = (changes: Partial<SocketJson> = {}): SocketJson => ({
  ...{ ...socket, boundInterface: null, unownedReason: null, sock: "0xffff888000000000" },
  owners: [{ pid: 7, fd: 3, comm: "nc", uid: 0 }],
  ...changes,
});
const readOther = (changes: Partial<OtherSocketJson> = {}): OtherSocketJson => ({
  ...{ kind: "packet", inode: 12, netns: 3, sock: "0xffff888000000000" },
  owners: [{ pid: 7, fd: 4, comm: "nc", uid: 0 }],
  ...changes,
});
const reading = (changes: Partial<Reading> = {}): Reading => ({
  ...{ processes: [readProcess()], sockets: [readSocket()], otherSockets: [readOther()] },
  ...changes,
});

it("finds nothing where nothing differs", () => {
  expect(compare(truth(), reading())).toEqual([]);
});

it.each<[string, Partial<Reading>]>([
  ['process 7 ("nc"): missing', { processes: [] }],
  ["processes: a pid is there more than once", { processes: [readProcess(), readProcess()] }],
  ['process 8 ("x"): is not in the truth', { processes: [readProcess(), readProcess({ pid: 8, comm: "x" })] }],
  ['process 7 ("nc"): fsuid: truth 0, read 1', { processes: [readProcess({ fsuid: 1 })] }],
  ['process 7 ("nc"): uid: truth 0, read null', { processes: [readProcess({ uid: null })] }],
  ['process 7 ("nc"): state: truth "S", read "R"', { processes: [readProcess({ state: "R" })] }],
  ['process 7 ("nc"): comm: truth "nc", read "cn"', { processes: [readProcess({ comm: "cn" })] }],
  ['process 7 ("nc"): startTimeTicks: truth 123, read 124', { processes: [readProcess({ startTime: "1240000000" })] }],
  ["socket inode 9: missing (tcp 10.0.2.15:22 → 192.0.2.1:44, held by 7/3)", { sockets: [] }],
  [
    "socket inode 8: is not in the truth (tcp 10.0.2.15:22 → 192.0.2.1:44, held by 7/3)",
    { sockets: [readSocket(), readSocket({ inode: 8 })] },
  ],
  [
    "socket inode 9: is not in the truth (tcp 10.0.2.15:22 → 192.0.2.1:44, held by 7/3)",
    { sockets: [readSocket(), readSocket()] },
  ],
  [
    'socket inode 9: state: truth "CLOSE_WAIT", read "ESTABLISHED"',
    { sockets: [readSocket({ state: "ESTABLISHED" })] },
  ],
  ["socket inode 9: boundInterface: truth 0, read 2", { sockets: [readSocket({ boundInterface: 2 })] }],
  [
    'socket inode 9: owners: truth [{"pid":7,"fd":3}], read [{"pid":7,"fd":3},{"pid":7,"fd":4}]',
    { sockets: [readSocket({ owners: [4, 3].map((fd) => ({ pid: 7, fd, comm: "nc", uid: 0 })) })] },
  ],
  [
    'socket inode 9: local: truth {"address":"10.0.2.15","port":22}, read {"address":"10.0.2.15","port":23}',
    { sockets: [readSocket({ local: { address: "10.0.2.15", port: 23 } })] },
  ],
])("finds: %s", (difference, changes) => {
  expect(compare(truth(), reading(changes))).toEqual([difference]);
});

it("excuses what the truth does not know, and nothing else", () => {
  const unknown = truth();
  unknown.processes[0]!.state = null;
  unknown.sockets[0]!.remote = null;
  unknown.unstable = [{ pid: 8, comm: "kworker/0:1" }];
  const read = reading({
    processes: [readProcess({ state: "R" }), readProcess({ pid: 8, comm: "kworker/0:1" })],
    sockets: [readSocket({ remote: { address: "0.0.0.0", port: 0 } })],
  });
  expect(compare(unknown, read)).toEqual([]);
});

it("tells the subflows of one MPTCP socket apart by their ends", () => {
  const two = truth();
  const [first] = two.sockets;
  const elsewhere = { address: "192.0.2.2", port: 44 };
  two.sockets = [first!, { ...first!, remote: elsewhere }];
  expect(compare(two, reading({ sockets: [readSocket({ remote: elsewhere }), readSocket()] }))).toEqual([]);
});

it("holds a reader to the sockets that nobody holds, by what they connect", () => {
  const theirs = (changes: Partial<SocketJson>) => readSocket({ inode: 0, owners: [], uid: null, ...changes });
  const waiting = { ...truth().sockets[0]!, inode: 0, owners: [], state: "TIME_WAIT", uid: null };
  const known: Truth = { ...truth(), sockets: [...truth().sockets, { ...waiting, unownedReason: "time-wait" }] };
  const right = theirs({ state: "TIME_WAIT", unownedReason: "time-wait" });
  const differences = (...read: SocketJson[]) => compare(known, reading({ sockets: [readSocket(), ...read] }));
  expect(differences(right)).toEqual([]);
  expect(differences({ ...right, uid: 0 })).toEqual([
    "socket tcp 10.0.2.15:22 → 192.0.2.1:44: uid: truth null, read 0",
  ]);
  expect(differences({ ...right, unownedReason: "orphan" })).toEqual([
    'socket tcp 10.0.2.15:22 → 192.0.2.1:44: unownedReason: truth "time-wait", read "orphan"',
  ]);
  expect(differences({ ...right, netns: 4 })).toHaveLength(2); // one missing, one too many
  expect(differences(right, right)).toHaveLength(1);
});

it("holds a reader to the senders without flows", () => {
  const differences = (...otherSockets: OtherSocketJson[]) => compare(truth(), reading({ otherSockets }));
  expect(differences(readOther())).toEqual([]);
  expect(differences()).toEqual(['packet socket 12 in 3 of [{"pid":7,"fd":4}]: missing']);
  expect(differences(readOther({ kind: "vsock" }))).toHaveLength(2);
  expect(differences(readOther(), readOther())).toHaveLength(1);
});

it("compares details where they were asked for", () => {
  const known = truth();
  known.processes[0]!.exe = "/bin/nc";
  const differences = (changes: object) => compare(known, reading({ processes: [{ ...readProcess(), ...changes }] }));
  expect(differences({})).toEqual([]);
  expect(differences({ exe: "/bin/nc", args: ["nc"] })).toEqual([]);
  expect(differences({ exe: "/bin/cat" })).toEqual(['process 7 ("nc"): exe: truth "/bin/nc", read "/bin/cat"']);
});
