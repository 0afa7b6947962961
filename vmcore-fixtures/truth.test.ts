import { describe, expect, it } from "vitest";
import { addressText, procEndpoint, sockaddrEndpoint } from "./endpoint.ts";
import { procNetRows } from "./proc-net.ts";
import { shortComm } from "./process-truth.ts";
import { readTranscript } from "./transcript.ts";
import { parseTranscript } from "./truth.ts";

describe("an address", () => {
  it.each([
    ["7f000001", "127.0.0.1"],
    ["00000000000000000000000000000000", "::"],
    ["00000000000000000000000000000001", "::1"],
    ["20010db8000000000000000000000015", "2001:db8::15"],
    ["20010db8000000010001000100010001", "2001:db8:0:1:1:1:1:1"],
    ["20010db8000100000000000100000000", "2001:db8:1::1:0:0"],
    ["00000000000000000000ffffc0000221", "192.0.2.33"],
  ])("%s is %s", (hex, text) => expect(addressText(Buffer.from(hex, "hex"))).toBe(text));

  it("is the same in /proc and in a struct sockaddr", () => {
    const expected = { address: "127.0.0.1", port: 22 };
    expect(procEndpoint("0100007F:0016")).toEqual(expected);
    expect(procEndpoint("0000000000000000FFFF00000100007F:0016")).toEqual(expected);
    expect(sockaddrEndpoint(2, "020000167f0000010000000000000000")).toEqual(expected);
  });
});

it("reads a row of /proc/net", () => {
  const row =
    "   0: 0F02000A:14B5 160200C0:01BB 05 00000001:00000000 04:0000007C 00000000  1003        0 11279 2 0000000000000000 20 4 30 10 -1";
  expect(procNetRows("tcp", `header\n${row}\n`, 4026531840)).toEqual([
    {
      ...{ protocol: "tcp", family: 4, state: "FIN_WAIT2", uid: 1003, inode: 11279, netns: 4026531840 },
      ...{ local: { address: "10.0.2.15", port: 5301 }, remote: { address: "192.0.2.22", port: 443 } },
      mini: null,
    },
  ]);
});

it.each([
  ["kworker/0:1H-kblockd", true, "kworker/0:1H"],
  ["kworker/u4:2+events_unbound", true, "kworker/u4:2"],
  ["kworker/R-rcu_gp", true, "kworker/R-rcu_g"],
  ["rcu_tasks_rude_kthread", true, "rcu_tasks_rude_"],
  ["kworker/0:1-x", false, "kworker/0:1-x"],
])("takes from %s (kernel thread: %s) what is in memory: %s", (shown, kernelThread, expected) => {
  expect(shortComm(Buffer.from(shown), kernelThread).toString()).toBe(expected);
});

const file = (path: string, content: string) => `file ${path} ${content.length}\n${content}\n`;
const processFiles = (pid: number, comm: string) =>
  file(`/proc/${pid}/stat`, `${pid} (${comm}) S 1 ${pid} 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 55 0\n`) +
  file(`/proc/${pid}/status`, "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nThreads:\t1\nNSpid:\t9\t1\n") +
  file(`/proc/${pid}/comm`, `${comm}\n`);
const lastOf = (pid: number, comm: string) => `last ${pid} ${Buffer.from(comm).toString("hex")}\n`;

it("is not led astray by what a process calls itself", () => {
  const comm = "a) R 1\nend\nfile";
  const transcript = Buffer.from(`${processFiles(7, comm)}${lastOf(7, comm)}end\n`);
  const [process] = parseTranscript(transcript).processes;
  expect(process).toMatchObject({
    pid: 7,
    comm,
    state: "S",
    session: 4,
    startTimeTicks: 55,
    fsuid: 4,
    sgid: 7,
    nspid: 1,
  });
});

it("notes workers that come and go, and refuses other changes", () => {
  const steady = processFiles(7, "sshd") + lastOf(7, "sshd");
  const worker = lastOf(8, "kworker/0:2-events");
  expect(parseTranscript(Buffer.from(`${steady}${worker}end\n`)).unstable).toEqual([{ pid: 8, comm: "kworker/0:2" }]);
});

it("refuses a guest that did not stand still", () => {
  const transcript = Buffer.from(`${processFiles(7, "sshd")}end\n`);
  expect(() => parseTranscript(transcript)).toThrow("The guest did not stand still: process 7 (sshd)");
});

it("refuses two accounts of one socket that differ", () => {
  const row = "0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 5 0 99 1";
  const answers = "inode=99 uid=6 domain=2 type=1 protocol=6 interface=0 state=10 netns=3 remote=errno:107";
  const local = "local=2:020000167f0000010000000000000000";
  const transcript = Buffer.from(
    `link /proc/7/task/7/fd/4 socket:[99]\nsocket 7 4 ${answers} ${local}\nnetwork 3\n` +
      `${file("/proc/self/net/tcp", `header\n${row}\n`)}end of network\nend\n`,
  );
  expect(readTranscript(transcript).answers.get(99)?.get("uid")).toBe("6");
  expect(() => parseTranscript(transcript)).toThrow("Socket 99 (tcp): uid is 5 in /proc/net, 6 by system call");
});

describe("of a socket that nobody holds", () => {
  const row = (state: string, timer: string, uid: number, inode: number, whole: boolean) =>
    `0: 0100007F:0016 0100007F:0A00 ${state} 0:0 ${timer}:0 0 ${uid} 0 ${inode} 1 0${whole ? " 20 4 30 10 -1" : ""}`;
  const told = (line: string, declared = "") => {
    const table = file("/proc/self/net/tcp", `header\n${line}\n`);
    return parseTranscript(Buffer.from(`${declared}network 3\n${table}end of network\nend\n`)).sockets;
  };

  it.each([
    ["a mini-socket in TIME_WAIT", row("06", "03", 0, 0, false), { unownedReason: "time-wait", uid: null }],
    ["one in FIN_WAIT2", row("05", "03", 0, 0, false), { unownedReason: "time-wait", state: "FIN_WAIT2" }],
    ["a whole one in FIN_WAIT2", row("05", "02", 0, 0, true), { unownedReason: "orphan", uid: null }],
    ["a half-open request", row("03", "01", 1003, 0, false), { unownedReason: "syn-recv", uid: 1003 }],
    ["a child in the queue", row("01", "00", 0, 0, true), { unownedReason: "not-accepted", uid: null }],
    ["one that has heard of its end", row("08", "00", 0, 0, true), { unownedReason: "not-accepted" }],
    ["one that only sends its end", row("09", "01", 0, 0, true), { unownedReason: "orphan" }],
  ])("tells the reason: %s", (_, line, expected) => {
    expect(told(line)).toMatchObject([{ ...expected, owners: [] }]);
  });

  it("takes the workload's word where the guest's tables have none", () => {
    const line = row("0A", "00", 5, 99, true);
    expect(() => told(line)).toThrow("Nobody holds socket 99 (tcp 127.0.0.1 port 22), nobody knows why");
    expect(told(line, "unheld reason=kernel port=22\n")).toMatchObject([{ unownedReason: "kernel", uid: 5 }]);
    expect(told(row("04", "01", 0, 0, true), "unheld port=22 uid=1003\n")).toMatchObject([{ uid: 1003 }]);
  });

  it("knows one that is in no table by what was declared", () => {
    const answers = "inode=98 uid=6 domain=2 type=1 protocol=6 interface=0 state=7 netns=3 remote=errno:107";
    const declared = `unheld reason=in-flight ${answers} local=2:020000167f0000010000000000000000\n`;
    expect(told("", declared)).toMatchObject([{ inode: 98, state: "CLOSE", uid: 6, unownedReason: "in-flight" }]);
  });
});

it("lists senders without flows with who holds them", () => {
  const answers = [
    "inode=98 domain=17 type=3 netns=3",
    "inode=97 domain=2 type=3 protocol=255 header=1",
    "inode=96 domain=16",
  ];
  const links = [98, 97, 96].map((inode) => `link /proc/7/task/7/fd/${inode - 90} socket:[${inode}]\n`);
  const raw = "netns=3 uid=0 local=2:020000ff000000000000000000000000 remote=errno:107 interface=0";
  const words = answers.map((answer) => `socket 7 4 ${answer} ${raw}\n`);
  expect(parseTranscript(Buffer.from(`${links.join("")}${words.join("")}end\n`)).otherSockets).toEqual([
    { kind: "packet", inode: 98, netns: 3, owners: [{ pid: 7, fd: 8 }] },
    { kind: "raw-header", inode: 97, netns: 3, owners: [{ pid: 7, fd: 7 }] },
  ]);
});
