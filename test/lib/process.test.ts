import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns, type ProcessCells } from "../../lib/testing/columns.ts";

const MISSING = 0xffffffff;

function process(cells: Partial<ProcessCells>) {
  return new WalkedSnapshot(columns([{ pid: 539, ...cells }])).processes.at(0)!;
}

describe("a process", () => {
  it("is read from its row", () => {
    const second = new WalkedSnapshot(
      columns([
        { pid: 1, comm: "init" },
        { pid: 539, comm: "nc" },
      ]),
    ).processes.at(1)!;
    expect([second.pid, second.comm]).toEqual([539, "nc"]);
  });
  it("has null for ids that the kernel's types lack", () => {
    const lacking = process({ columns: { fsuid: MISSING, session: MISSING, nspid: MISSING } });
    expect([lacking.fsuid, lacking.session, lacking.nspid]).toEqual([null, null, null]);
  });
  it("has null for namespaces that it left or that are unknown", () => {
    const zombie = process({ columns: { netns: 0, pidns: 0 } });
    expect([zombie.netns, zombie.pidns]).toEqual([null, null]);
  });
  it("keeps the kernel's number for an unset login", () => {
    expect(process({ columns: { loginuid: MISSING, sessionid: MISSING } })).toMatchObject({
      loginuid: 4294967295,
      sessionid: 4294967295,
    });
  });
  it("has a CPU only while it runs", () => {
    expect(process({ columns: { cpu: -1 } }).cpu).toBeNull();
    expect(process({ columns: { cpu: 0 } }).cpu).toBe(0);
  });
  it("tells kernel threads", () => {
    expect(process({ columns: { flags: 1 } }).kernelThread).toBe(true);
    expect(process({ columns: { flags: 0 } }).kernelThread).toBe(false);
  });
  it("has a name of UTF-8, with U+FFFD for what does not decode", () => {
    expect(process({ comm: Uint8Array.of(0x6e, 0xff, 0x63) }).comm).toBe("n\ufffdc");
  });
  it("keeps a byte order mark in its name", () => {
    expect(process({ comm: "\ufeffnc" }).comm).toBe("\ufeffnc");
  });

  it("is one JSON object with the contract's fields in order", () => {
    const uids = { uid: 1003, euid: 1003, suid: 1003, fsuid: 1003, gid: 100, egid: 100, sgid: 100, fsgid: 100 };
    const rest = { session: 500, sessionid: 2, nspid: 539, netns: 4026531840, pidns: 4026531836 };
    const times = { startTime: 1234567890n, task: 0xffff888003a40000n };
    const nc = process({ comm: "nc", columns: { ppid: 1, ...uids, ...rest, ...times } });
    expect(JSON.stringify(nc)).toBe(
      '{"pid":539,"ppid":1,"comm":"nc","uid":1003,"euid":1003,"suid":1003,"fsuid":1003,"gid":100,"egid":100,' +
        '"sgid":100,"fsgid":100,"loginuid":4294967295,"session":500,"sessionid":2,"state":"S","kernelThread":false,' +
        '"threads":1,"startTime":"1234567890","nspid":539,"netns":4026531840,"pidns":4026531836,"cpu":null,' +
        '"task":"0xffff888003a40000","cgroup":null,"containerId":null}',
    );
  });
  it("shows its fields when it is logged", () => {
    expect(inspect(process({ comm: "nc" }))).toContain("comm: 'nc'");
  });
  it("finds the container's id in the path of its cgroup, the innermost one", () => {
    const id = "0123456789abcdef".repeat(4);
    const paths: [string, string | null][] = [
      [`/docker/${id}`, id],
      [`/system.slice/docker-${id}.scope`, id],
      [`/kubepods/pod1/${"f".repeat(64)}/inner/${id}`, id],
      [`/user.slice/${id}0`, null],
      ["/", null],
    ];
    for (const [path, expected] of paths) {
      const native = columns([{ pid: 1, comm: path, columns: { cgroup: 0 } }]);
      expect(new WalkedSnapshot(native).process(1)?.containerId).toBe(expected);
    }
  });
  it("has details only where they were asked for", () => {
    const native = columns([{ pid: 1, comm: "/bin/nc" }]);
    expect(new WalkedSnapshot(native).process(1)).toMatchObject({ exe: undefined, args: undefined });
    const [exe, args] = [Uint32Array.of(0), Uint32Array.of(0xffffffff)];
    const detailed = { ...native, processes: { ...native.processes, exe, args, argsAbsent: Uint8Array.of(1) } };
    expect(new WalkedSnapshot(detailed).process(1)).toMatchObject({ exe: "/bin/nc", args: null, argsAbsent: true });
  });
});
