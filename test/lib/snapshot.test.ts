import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns, QUALITY } from "../../lib/testing/columns.ts";

const PROCESSES = [
  { pid: 0, comm: "swapper/0" },
  { pid: 1, comm: "init" },
  { pid: 539, comm: "nc" },
];
const SOCKETS = [
  { owners: [{ pid: 539, fd: 3 }], columns: { inode: 100 } },
  { owners: [], columns: { inode: 0 } },
  {
    owners: [
      { pid: 1, fd: 7 },
      { pid: 539, fd: 4 },
      { pid: 539, fd: 5 },
    ],
    columns: { inode: 200 },
  },
];
const snapshot = new WalkedSnapshot(columns(PROCESSES, SOCKETS));

describe("a snapshot", () => {
  it("lists processes and sockets in the order of the walk", () => {
    expect(Array.from(snapshot.processes, ({ pid }) => pid)).toEqual([0, 1, 539]);
    expect(Array.from(snapshot.sockets, ({ inode }) => inode)).toEqual([100, 0, 200]);
    expect(snapshot.processes.length).toBe(3);
  });
  it("has rows by index, from the end too", () => {
    expect(snapshot.processes.at(0)?.pid).toBe(0);
    expect(snapshot.processes.at(-1)?.pid).toBe(539);
    expect(snapshot.processes.at(3)).toBeUndefined();
    expect(snapshot.processes.at(-4)).toBeUndefined();
  });
  it("finds a process by its pid", () => {
    expect(snapshot.process(539)?.comm).toBe("nc");
    expect(snapshot.process(540)).toBeUndefined();
  });
  it("gives the same object for the same row", () => {
    expect(snapshot.process(539)).toBe(snapshot.processes.at(2));
    expect(snapshot.socketsOf(1)[0]).toBe(snapshot.sockets.at(2));
  });
  it("keeps the first of two processes that claim one pid", () => {
    const lying = new WalkedSnapshot(
      columns([
        { pid: 7, comm: "first" },
        { pid: 7, comm: "second" },
      ]),
    );
    expect(lying.process(7)?.comm).toBe("first");
  });
  it("finds the sockets that a process holds, each once", () => {
    expect(snapshot.socketsOf(539).map(({ inode }) => inode)).toEqual([100, 200]);
    expect(snapshot.socketsOf(0)).toEqual([]);
    expect(snapshot.socketsOf(540)).toEqual([]);
  });
  it("has the owners of a socket by pid, then fd", () => {
    const owners = [
      { pid: 539, fd: 5 },
      { pid: 1, fd: 7 },
      { pid: 539, fd: 4 },
    ];
    const { sockets } = new WalkedSnapshot(columns(PROCESSES, [{ owners }]));
    expect(sockets.at(0)?.owners.map(({ pid, fd }) => `${pid}/${fd}`)).toEqual(["1/7", "539/4", "539/5"]);
  });
  it("shows numbers as numbers when it is printed", () => {
    expect(inspect(snapshot.processes.at(0))).toMatch(/startTime: \d+n,.*task: \d+n/s);
    expect(inspect(snapshot.sockets.at(0))).toMatch(/sock: \d+n/);
  });
  it("owns no socket that nobody holds", () => {
    expect(snapshot.sockets.at(1)?.owners).toEqual([]);
  });
  it("is the same as another that holds the same, whatever ran at the time", () => {
    const other = (change: object, socketChange = {}) => {
      const processes = PROCESSES.map((process) => ({ ...process, columns: change }));
      const sockets = SOCKETS.map((cells) => ({ ...cells, columns: { ...cells.columns, ...socketChange } }));
      return new WalkedSnapshot({ ...columns(processes, sockets), quality: { ...QUALITY, elapsedNs: 7 } });
    };
    const one = other({});
    expect([{}, { cpu: 1, state: 82, threads: 3 }].map((change) => one.sameAs(other(change)))).toEqual([true, true]);
    expect([{ uid: 1 }, { comm: 0 }, { ppid: 7 }].map((change) => one.sameAs(other(change)))).toEqual([
      false,
      false,
      false,
    ]);
    expect([{ state: 1 }, { localPort: 22 }].map((change) => one.sameAs(other({}, change)))).toEqual([false, false]);
    expect(one.sameAs(new WalkedSnapshot(columns(PROCESSES, SOCKETS.slice(1))))).toBe(false);
    expect(one.sameAs(new WalkedSnapshot(columns(PROCESSES.slice(0, 2), [])))).toBe(false);
  });
  it("is JSON with its quality", () => {
    const json = JSON.parse(JSON.stringify(snapshot));
    expect(json.processes).toHaveLength(3);
    expect(json.sockets[2].owners).toHaveLength(3);
    expect(json.quality).toEqual({ ...QUALITY, pauseMs: 0 });
  });
});
