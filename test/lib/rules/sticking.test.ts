import { describe, expect, it } from "vitest";
import { emptyPlanState, parsePlanState } from "../../../lib/rules/plan.ts";
import type { Socket } from "../../../lib/socket.ts";
import { made, Polls, socket, type What } from "./made.ts";

const alice = made({ pid: 101, uid: 1001 });
const mallory = made({ pid: 103, uid: 1003 });
const processes = [alice, mallory];
const make = (what: What) => socket(processes, what);
const DENY = "deny tcp from any to any 22 out uid 1003";
const FLOW = { local: "10.0.2.15:40000", remote: "192.0.2.7:22" };
const PATTERN = "out tcp4 10.0.2.15:40000 192.0.2.7:22 drop";
const STICKS = [`${PATTERN} (sticks)`];

/** Polls that have seen mallory's connection already. */
function blocked(...rules: unknown[]) {
  const polls = new Polls(...(rules.length > 0 ? rules : [DENY]));
  const sock = make({ ...FLOW, owners: [103] });
  expect(polls.poll({ processes, sockets: [sock] }).keys).toContain(PATTERN);
  return { polls, sock };
}

/** The same sock, otherwise as a test says. */
function become(sock: Socket, what: Partial<What>): Socket {
  return { ...make({ ...FLOW, ...what }), sock: sock.sock, inode: what.inode ?? sock.inode };
}

describe("a blocked flow", () => {
  it("stays blocked when its process is another user's, and by the same rule", () => {
    const { polls, sock } = blocked();
    const moved = become(sock, { owners: [101] });
    for (let i = 0; i < 3; i++) {
      const { keys, patterns } = polls.poll({ processes, sockets: [moved] });
      expect(keys).toEqual(STICKS);
      expect(patterns[0]).toMatchObject({ rule: 0, owner: { pid: 103, uid: 1003 } });
    }
  });
  it("stays blocked as an orphan, and as a tuple that waits, until that is gone", () => {
    const { polls, sock } = blocked();
    const orphan = become(sock, { uid: null, inode: 0, unownedReason: "orphan", state: "FIN_WAIT1" });
    const waits = make({ ...FLOW, uid: null, inode: 0, unownedReason: "time-wait", state: "TIME_WAIT" });
    expect(polls.poll({ processes, sockets: [orphan] }).keys).toEqual(STICKS);
    expect(polls.poll({ processes, sockets: [waits] }).keys).toEqual(STICKS);
    expect(polls.poll({ processes, sockets: [waits] }).keys).toEqual(STICKS);
    expect(polls.poll({ processes, sockets: [] }).keys).toEqual([]);
    expect(polls.poll({ processes, sockets: [waits] }).keys).toEqual([]);
  });
  it("does not bequeath its verdict to who gets its tuple", () => {
    const { polls } = blocked();
    expect(polls.poll({ processes, sockets: [make({ ...FLOW, owners: [101] })] }).keys).toEqual([]);
  });
  it("does not bequeath it to who gets its tuple and its sock's memory", () => {
    const { polls, sock } = blocked();
    const next = become(sock, { owners: [101], inode: sock.inode + 1 });
    expect(polls.poll({ processes, sockets: [next] }).keys).toEqual([]);
  });
  it("does not keep a tuple that waits when somebody has it", () => {
    const { polls } = blocked();
    const waits = make({ ...FLOW, uid: null, unownedReason: "time-wait" });
    const sockets = [waits, make({ ...FLOW, owners: [101] })];
    expect(polls.poll({ processes, sockets }).keys).toEqual([]);
    const again = blocked().polls;
    const asks = make({ ...FLOW, uid: 0, state: "SYN_RECV", unownedReason: "syn-recv" });
    expect(again.poll({ processes, sockets: [waits, asks] }).keys).toEqual([]);
  });
  it("is judged anew when the same sock goes elsewhere", () => {
    const { polls, sock } = blocked();
    const elsewhere = become(sock, { owners: [101], remote: "192.0.2.8:22" });
    expect(polls.poll({ processes, sockets: [elsewhere] }).keys).toEqual([]);
  });
  it("is let go when its rule is, and stays when the rule only moves", () => {
    const { polls, sock } = blocked();
    const moved = become(sock, { owners: [101] });
    polls.rules = ["log udp from any to any", DENY];
    const { keys, patterns } = polls.poll({ processes, sockets: [moved] });
    expect([keys, patterns[0]?.rule]).toEqual([STICKS, 1]);
    polls.rules = ["log udp from any to any"];
    expect(polls.poll({ processes, sockets: [moved] }).keys).toEqual([]);
    polls.rules = [DENY];
    expect(polls.poll({ processes, sockets: [moved] }).keys).toEqual([]);
  });
  it("is let go by an exception that comes first and now holds for all owners", () => {
    const { polls, sock } = blocked("allow tcp from any to any uid 1001", DENY);
    expect(polls.poll({ processes, sockets: [become(sock, { owners: [101, 103] })] }).keys).toEqual([PATTERN]);
    expect(polls.poll({ processes, sockets: [become(sock, { owners: [101] })] }).keys).toEqual([]);
  });
  it("is not let go by an exception behind its rule", () => {
    const { polls, sock } = blocked(DENY, "allow tcp from any to any uid 1001");
    expect(polls.poll({ processes, sockets: [become(sock, { owners: [101] })] }).keys).toEqual(STICKS);
  });
  it("that was only logged is not remembered", () => {
    const polls = new Polls("log tcp from any to any 22 out uid 1003");
    const sock = make({ ...FLOW, owners: [103] });
    expect(polls.poll({ processes, sockets: [sock] }).keys.length).toBe(1);
    expect(polls.poll({ processes, sockets: [become(sock, { owners: [101] })] }).keys).toEqual([]);
  });
  it("that is wide stays with its socket, and goes with it", () => {
    const polls = new Polls("deny udp from any to any out uid 1003");
    const bound = { protocol: "udp", local: "0.0.0.0:5000" } as const;
    const sock = make({ ...bound, owners: [103] });
    polls.poll({ processes, sockets: [sock] });
    const handed = { ...make({ ...bound, owners: [101] }), sock: sock.sock, inode: sock.inode };
    expect(polls.poll({ processes, sockets: [handed] }).keys).toEqual(["out udp4 *:5000 *:* drop (sticks)"]);
    expect(polls.poll({ processes, sockets: [make({ ...bound, owners: [101] })] }).keys).toEqual([]);
  });
});

describe("a snapshot that is not whole", () => {
  it("lets no flow go that is missing from it, for a while", () => {
    const { polls, sock } = blocked();
    for (let i = 0; i < 5; i++) expect(polls.poll({ processes, sockets: [], torn: 1 }).keys).toEqual(STICKS);
    expect(polls.poll({ processes, sockets: [sock], torn: 1 }).keys).toEqual([PATTERN]);
    for (let i = 0; i < 5; i++) expect(polls.poll({ processes, sockets: [], torn: 1 }).keys).toEqual(STICKS);
    expect(polls.poll({ processes, sockets: [], torn: 1 }).keys).toEqual([]);
  });
  it("lets it go at once when its tuple is somebody's, or the next snapshot is whole", () => {
    const taken = make({ ...FLOW, owners: [101] });
    expect(blocked().polls.poll({ processes, sockets: [taken], torn: 1 }).keys).toEqual([]);
    const { polls } = blocked();
    polls.poll({ processes, sockets: [], torn: 1 });
    expect(polls.poll({ processes, sockets: [] }).keys).toEqual([]);
  });
  it("cuts off nobody who shares a port with what is missing", () => {
    const polls = new Polls("deny udp from any to any out uid 1003");
    polls.poll({ processes, sockets: [make({ protocol: "udp", local: "0.0.0.0:5000", owners: [103] })] });
    const others = [make({ protocol: "udp", local: "10.0.2.15:5000", remote: "192.0.2.7:53", owners: [101] })];
    expect(polls.poll({ processes, sockets: others, torn: 1 }).keys).toEqual([
      "out udp4 10.0.2.15:5000 192.0.2.7:53 accept (exception)",
      "out udp4 *:5000 *:* drop (sticks)",
    ]);
  });
});

describe("a rule by pid", () => {
  const rule = "deny ip from any to any out pid 103";
  const flow = (all: typeof processes, pid: number) => socket(all, { ...FLOW, owners: [pid] });
  it("means the process that had the pid when it was seen first, not who has it next", () => {
    const polls = new Polls(rule);
    expect(polls.poll({ processes }).keys).toEqual([]);
    const recycled = [alice, made({ pid: 103, uid: 1001, startTime: 5_000n })];
    expect(polls.poll({ processes: recycled, sockets: [flow(recycled, 103)] }).keys).toEqual([]);
    expect(polls.poll({ processes, sockets: [flow(processes, 103)] }).keys).toEqual([PATTERN]);
    // Set again, the rule means who has the pid now.
    polls.rules = [];
    polls.poll({ processes: recycled });
    polls.rules = [rule];
    expect(polls.poll({ processes: recycled, sockets: [flow(recycled, 103)] }).keys).toEqual([PATTERN]);
  });
  it("waits for a pid that nobody has yet", () => {
    const polls = new Polls(rule);
    polls.poll({ processes: [alice] });
    expect(polls.poll({ processes, sockets: [flow(processes, 103)] }).keys).toEqual([PATTERN]);
  });
});

describe("descendants", () => {
  const rule = "deny ip from any to any out pid 200 descendants";
  const shell = made({ pid: 200 });
  const child = made({ pid: 201, ppid: 200 });
  const grandchild = made({ pid: 202, ppid: 201 });
  const adopted = made({ pid: 202, ppid: 1 });
  const stranger = made({ pid: 203, ppid: 1 });
  /** Pids whose flows are blocked. */
  const pids = (polls: Polls, all: ReturnType<typeof made>[], torn = 0) => {
    const sockets = all.map(({ pid }) =>
      socket(all, { local: `10.0.2.15:${40000 + pid}`, remote: "192.0.2.7:22", owners: [pid] }),
    );
    return polls.poll({ processes: all, sockets, torn }).patterns.map(({ owner }) => owner!.pid);
  };
  it("are children and theirs, and stay so when their parents end", () => {
    const polls = new Polls(rule);
    expect(pids(polls, [shell, child, grandchild, stranger])).toEqual([200, 201, 202]);
    expect(pids(polls, [adopted, stranger])).toEqual([202]);
    const born = made({ pid: 204, ppid: 202 });
    expect(pids(polls, [adopted, stranger, born])).toEqual([202, 204]);
  });
  it("are not who gets a descendant's pid, nor whose parent had the pid of one", () => {
    const polls = new Polls(rule);
    pids(polls, [shell, child, grandchild]);
    expect(pids(polls, [shell, made({ pid: 201, startTime: 9_000n }), made({ pid: 205, ppid: 201 })])).toEqual([200]);
    // Older than its parent: that pid was another's when it was born.
    expect(pids(new Polls(rule), [shell, made({ pid: 206, ppid: 200, startTime: 5n })])).toEqual([200]);
  });
  it("are remembered while a snapshot is not whole", () => {
    const polls = new Polls(rule);
    pids(polls, [shell, child, grandchild]);
    expect(pids(polls, [shell], 1)).toEqual([200, 201, 202]);
    expect(pids(polls, [shell, adopted], 1)).toEqual([200, 201, 202]);
    expect(pids(polls, [shell])).toEqual([200]);
    expect(pids(polls, [shell, adopted])).toEqual([200]);
  });
});

it("a rule with a time ends when that has passed since it was set, and so does what it blocks", () => {
  const { polls, sock } = blocked(`${DENY} for 10m`);
  polls.now += 599_999;
  expect(polls.poll({ processes, sockets: [become(sock, { owners: [101] })] }).keys).toEqual(STICKS);
  polls.now += 1;
  expect(polls.poll({ processes, sockets: [sock] }).keys).toEqual([]);
  polls.now += 1_000;
  expect(polls.poll({ processes, sockets: [sock] }).keys).toEqual([]);
});

describe("the state", () => {
  it("is JSON that reads back", () => {
    const { polls } = blocked("deny ip from any to any out pid 103 descendants");
    expect(parsePlanState(JSON.parse(JSON.stringify(polls.state)))).toEqual(polls.state);
    expect(polls.state.held).toMatchObject([{ local: { port: 40000 }, rules: [{ rule: 0, owner: { pid: 103 } }] }]);
  });
  it.each([
    [null],
    [{}],
    [{ ...emptyPlanState(), version: 2 }],
    [{ ...emptyPlanState(), held: [{}] }],
    [{ ...blocked().polls.state, rules: [] }],
    [{ ...emptyPlanState(), more: 1 }],
  ])("is refused where it is broken", (state) => {
    expect(() => parsePlanState(state)).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_OPTION", name: "TypeError" }),
    );
  });
});
