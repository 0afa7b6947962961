import { describe, expect, it } from "vitest";
import { made, Polls, socket, type What } from "./made.ts";

const alice = made({ pid: 101, uid: 1001, comm: "alice" });
const mallory = made({ pid: 103, uid: 1003, comm: "mallory" });
const root = made({ pid: 100, uid: 0, comm: "sshd" });
const processes = [alice, mallory, root];
const make = (what: What) => socket(processes, what);
const DENY = "deny tcp from any to any 22 out uid 1003";

const ssh = (owners: number[], port = 40000) => make({ local: `10.0.2.15:${port}`, remote: "192.0.2.7:22", owners });
const OUT = "out tcp4 10.0.2.15:40000 192.0.2.7:22 drop";

describe("a connected socket", () => {
  it("of the user that a rule names is blocked, and nobody else's", () => {
    const sockets = [ssh([101], 40001), ssh([103])];
    const { patterns, keys, unenforceable } = new Polls(DENY).poll({ processes, sockets });
    expect(keys).toEqual([OUT]);
    expect(patterns[0]).toMatchObject({
      rule: 0,
      owner: { pid: 103, uid: 1003 },
      sock: sockets[1]!.sock,
      reason: "matched",
    });
    expect(unenforceable).toEqual([]);
  });
  it("is blocked both ways where the rule names none", () => {
    const { keys } = new Polls("reject tcp from any to any uid 1003").poll({ processes, sockets: [ssh([103])] });
    expect(keys).toEqual([
      "out tcp4 10.0.2.15:40000 192.0.2.7:22 reject",
      "in tcp4 10.0.2.15:40000 192.0.2.7:22 reject",
    ]);
  });
  it("meets a rule's ports and addresses, or is left alone", () => {
    const blocked = (rule: string) => new Polls(rule).poll({ processes, sockets: [ssh([103])] }).keys.length;
    expect(blocked("deny tcp from any to any 20-30 out uid 1003")).toBe(1);
    expect(blocked("deny tcp from any to any 23,24 out uid 1003")).toBe(0);
    expect(blocked("deny tcp from any 40000 to 192.0.2.0/24 out uid 1003")).toBe(1);
    expect(blocked("deny tcp from any to 198.51.100.0/24 out uid 1003")).toBe(0);
    expect(blocked("deny tcp from 10.0.0.0/8 to any out uid 1003")).toBe(1);
    expect(blocked("deny tcp from 192.168.0.0/16 to any out uid 1003")).toBe(0);
    expect(blocked("deny tcp from any to 2001:db8::/32 out uid 1003")).toBe(0);
    expect(blocked("deny udp from any to any out uid 1003")).toBe(0);
  });
  it("is decided for each way by the first rule that is for it", () => {
    const rules = ["deny tcp from any to any out uid 1003", "allow ip from any to any in", "reject ip from any to any"];
    expect(new Polls(...rules).poll({ processes, sockets: [ssh([103])] }).keys).toEqual([OUT]);
  });
  it("counts, and not what is left of another with its ends", () => {
    const rules = ["deny tcp from any to any out socket-uid 1001", "reject tcp from any to any out uid 1003"];
    const left = make({ local: "10.0.2.15:40000", remote: "192.0.2.7:22", uid: 1001, unownedReason: "time-wait" });
    const { keys, unenforceable } = new Polls(...rules).poll({ processes, sockets: [left, ssh([103])] });
    expect([keys, unenforceable]).toEqual([["out tcp4 10.0.2.15:40000 192.0.2.7:22 reject"], []]);
    const innocent = new Polls(rules[0]).poll({ processes, sockets: [left, ssh([103])] });
    expect([innocent.keys, innocent.unenforceable]).toEqual([[], []]);
  });
  it("is decided by the first rule of all that block sockets with its ends", () => {
    const both = [ssh([103]), ssh([101])];
    const rules = ["deny tcp from any to any out uid 1001", "reject tcp from any to any out uid 1003"];
    for (const sockets of [both, both.toReversed()]) {
      expect(new Polls(...rules).poll({ processes, sockets }).keys).toEqual([OUT]);
      expect(new Polls(...rules.toReversed()).poll({ processes, sockets }).keys[0]).toMatch(/reject$/);
    }
  });
  it("is decided by the first of two rules with one text", () => {
    const polls = new Polls(DENY, DENY);
    expect(polls.poll({ processes, sockets: [ssh([103])] }).patterns).toMatchObject([{ rule: 0 }]);
    expect(polls.state.rules.length).toBe(1);
  });
  it("is IPv4's when it talks IPv4 by mapped addresses", () => {
    const sockets = [make({ family: 6, local: "10.0.2.15:40000", remote: "192.0.2.7:22", owners: [103] })];
    expect(new Polls(DENY).poll({ processes, sockets }).keys).toEqual([OUT]);
  });
});

describe("several owners", () => {
  it("make one enough for a block, and all needed for an exception", () => {
    const both = ssh([101, 103]);
    expect(new Polls(DENY).poll({ processes, sockets: [both] }).keys).toEqual([OUT]);
    const rules = ["allow tcp from any to any uid 1001", "deny tcp from any to any out"];
    expect(new Polls(...rules).poll({ processes, sockets: [both] }).keys).toEqual([OUT]);
    expect(new Polls(...rules).poll({ processes, sockets: [ssh([101])] }).keys).toEqual([]);
  });
  it("are not needed where the user who made the socket is named", () => {
    const orphan = make({ local: "10.0.2.15:40000", remote: "192.0.2.7:22", uid: 1003, unownedReason: "orphan" });
    const { patterns } = new Polls(DENY).poll({ processes, sockets: [orphan] });
    expect(patterns).toMatchObject([{ owner: null, sock: orphan.sock }]);
    // An exception is for those who are known to hold it.
    const rules = ["allow tcp from any to any uid 1003", "deny tcp from any to any out"];
    expect(new Polls(...rules).poll({ processes, sockets: [orphan] }).keys).toEqual([OUT]);
  });
  it("do not accept by the uid of the socket what another user holds", () => {
    const given = make({ local: "10.0.2.15:40000", remote: "192.0.2.7:22", owners: [103], uid: 1001 });
    const rules = ["allow tcp from any to any uid 1001", "deny tcp from any to any out"];
    expect(new Polls(...rules).poll({ processes, sockets: [given] }).keys).toEqual([OUT]);
  });
});

describe("who", () => {
  const session = made({
    pid: 120,
    uid: 1003,
    euid: 0,
    gid: 5,
    egid: 6,
    loginuid: 1001,
    comm: "a b",
    cgroup: "/user.slice/u1",
  });
  const all = [...processes, session];
  const held = socket(all, { local: "10.0.2.15:40000", remote: "192.0.2.7:22", owners: [120], uid: 33 });
  it.each([
    ["uid 1003", 1],
    ["uid 0", 1],
    ["uid 33", 1],
    ["uid 5", 0],
    ["process-uid 0", 1],
    ["process-uid 33", 0],
    ["socket-uid 33", 1],
    ["socket-uid 1003", 0],
    ["login-uid 1001", 1],
    ["login-uid 1003", 0],
    ["gid 5", 1],
    ["gid 6", 1],
    ["gid 7", 0],
    ['comm "a b"', 1],
    ["comm a", 0],
    ["cgroup /user.slice/u1", 1],
    ["cgroup /user.slice", 0],
    ["cgroup /user.slice/*", 1],
    ["cgroup /user.slice/u1/*", 1],
    ["cgroup /user/*", 0],
    ["cgroup /*", 1],
    ["netns 1", 1],
    ["netns 2", 0],
    ["state ESTABLISHED", 1],
    ["state LISTEN", 0],
    ["pid 120", 1],
    ["pid 121", 0],
    ["pid 120@120", 1],
    ["pid 120@119", 0],
    ["uid 1003 gid 5 comm x", 0],
    ["uid 1003 gid 5", 1],
    ["uid 33 gid 5", 1],
    ["uid 33 gid 7", 0],
  ])("says %s: %i", (who, patterns) => {
    const { keys } = new Polls(`deny ip from any to any out ${who}`).poll({ processes: all, sockets: [held] });
    expect(keys.length).toBe(patterns);
  });
  it("means one owner who meets all of a rule, not two who meet it together", () => {
    const shared = make({ local: "10.0.2.15:40000", remote: "192.0.2.7:22", owners: [101, 103], uid: 5 });
    const { keys } = new Polls("deny ip from any to any out uid 1001 comm mallory").poll({
      processes,
      sockets: [shared],
    });
    expect(keys).toEqual([]);
  });
});

describe("a socket that is not connected", () => {
  it("is blocked as far as the rule goes, not further", () => {
    const sockets = [make({ protocol: "udp", local: "0.0.0.0:5000", owners: [103] })];
    const poll = (...rules: string[]) => new Polls(...rules).poll({ processes, sockets }).keys;
    expect(poll("deny udp from any to any 53 out uid 1003")).toEqual(["out udp4 *:5000 *:53 drop"]);
    expect(poll("deny udp from any to 192.0.2.0/24,2001:db8::/32 53,1000-2000 out uid 1003")).toEqual([
      "out udp4 *:5000 192.0.2.0/24:53 drop",
      "out udp4 *:5000 192.0.2.0/24:1000-2000 drop",
    ]);
    expect(
      poll(
        "allow ip from any to 192.0.2.0/24",
        "reject udp from any to any 53 out uid 1003",
        "deny ip from any to any out",
        "log ip from any to any out",
      ),
    ).toEqual(["out udp4 *:5000 192.0.2.0/24:* accept", "out udp4 *:5000 *:53 reject", "out udp4 *:5000 *:* drop"]);
    expect(poll("allow ip from any to any")).toEqual([]);
    expect(poll("deny ip from any to any out", "reject udp from any to any 53 out")).toEqual([
      "out udp4 *:5000 *:* drop",
    ]);
  });
  it("is of both IP versions where it is dual-stack, and of one where the rule is", () => {
    const sockets = [make({ local: "[::]:8080", dualStack: true, owners: [103] })];
    const poll = (rule: string) => new Polls(rule).poll({ processes, sockets }).keys;
    expect(poll("deny tcp from any to any in uid 1003")).toEqual([
      "in tcp4 *:8080 *:* drop",
      "in tcp6 *:8080 *:* drop",
    ]);
    expect(poll("deny tcp from 0.0.0.0/0 to any in uid 1003")).toEqual(["in tcp4 *:8080 *:* drop"]);
    expect(poll("deny tcp from any to ::/0 in uid 1003")).toEqual(["in tcp6 *:8080 *:* drop"]);
    expect(poll("deny tcp from any to 10.0.2.15 in uid 1003")).toEqual(["in tcp4 10.0.2.15:8080 *:* drop"]);
  });
  it("has the rules for a named address in their order, before those for any", () => {
    const sockets = [make({ local: "0.0.0.0:80", owners: [103] })];
    const rules = ["allow tcp from 192.0.2.0/24 to any in", "deny tcp from any to 10.0.2.15 in uid 1003"];
    expect(new Polls(...rules).poll({ processes, sockets }).keys).toEqual([
      "in tcp4 10.0.2.15:80 192.0.2.0/24:* accept",
      "in tcp4 10.0.2.15:80 *:* drop",
    ]);
  });
  it("has a network of its addresses resolved by those that the guest has, or it is said", () => {
    const sockets = [make({ local: "0.0.0.0:80", owners: [103] })];
    const rule = "deny tcp from any to 10.0.0.0/8 in uid 1003";
    expect(new Polls(rule).poll({ processes, sockets })).toMatchObject({
      keys: [],
      unenforceable: [{ reason: "local-network" }],
    });
    const devices = [{ physical: true, addresses: ["192.168.1.1", "10.0.2.15", "fe80::1"] }];
    const networkNamespaces = [{ inode: 1, initial: true, devices }];
    expect(new Polls(rule).poll({ processes, sockets, networkNamespaces })).toMatchObject({
      ...{ keys: ["in tcp4 10.0.2.15:80 *:* drop"], unenforceable: [] },
    });
  });
  it("puts nothing in force before it has a port, or after a connection is closed", () => {
    const fresh = make({ protocol: "udp", local: "0.0.0.0:0", owners: [103] });
    const closed = make({ local: "10.0.2.15:40000", remote: "192.0.2.7:22", state: "CLOSE", owners: [103] });
    expect(new Polls("deny ip from any to any uid 1003").poll({ processes, sockets: [fresh, closed] }).keys).toEqual(
      [],
    );
  });
});

describe("exceptions", () => {
  const RULE = "deny tcp from any to any in uid 1003";
  const listener = make({ local: "0.0.0.0:8080", owners: [103] });
  it("keep the flows of others out of a wide pattern", () => {
    const other = make({ local: "10.0.2.15:8080", remote: "192.0.2.7:5555", owners: [101] });
    const bound = make({ local: "10.0.2.16:8080", owners: [101] });
    expect(new Polls(RULE).poll({ processes, sockets: [listener, other, bound] }).keys).toEqual([
      "in tcp4 10.0.2.15:8080 192.0.2.7:5555 accept (exception)",
      "in tcp4 10.0.2.16:8080 *:* accept (exception)",
      "in tcp4 *:8080 *:* drop",
    ]);
  });
  it("never stand for what is left of a connection where its ends are blocked", () => {
    const ends = { local: "10.0.2.15:1", remote: "192.0.2.7:5555" };
    const left = make({ ...ends, uid: null, unownedReason: "time-wait" });
    const sockets = [make({ local: "0.0.0.0:1", owners: [103] }), left, make({ ...ends, owners: [103] })];
    expect(new Polls(RULE).poll({ processes, sockets }).keys).toEqual([
      "in tcp4 10.0.2.15:1 192.0.2.7:5555 drop",
      "in tcp4 *:1 *:* drop",
    ]);
  });
  it("are not made for what the wide pattern does not hit", () => {
    const rule = "deny tcp from 192.0.2.0/24 to any in uid 1003";
    const far = make({ local: "10.0.2.15:8080", remote: "198.51.100.1:5555", owners: [101] });
    const six = make({ local: "[2001:db8::1]:8080", remote: "[2001:db8::2]:5555", owners: [101] });
    const udp = make({ protocol: "udp", local: "10.0.2.15:8080", remote: "192.0.2.7:5555", owners: [101] });
    expect(new Polls(rule).poll({ processes, sockets: [listener, far, six, udp] }).keys).toEqual([
      "in tcp4 *:8080 192.0.2.0/24:* drop",
    ]);
  });
  it("are not made for connections that nobody has accepted yet", () => {
    const child = { local: "10.0.2.15:8080", remote: "192.0.2.7:5555", uid: 0 };
    const sockets = [listener, make({ ...child, unownedReason: "not-accepted" })];
    sockets.push(make({ ...child, remote: "192.0.2.7:5556", state: "SYN_RECV", unownedReason: "syn-recv" }));
    expect(new Polls(RULE).poll({ processes, sockets }).keys).toEqual(["in tcp4 *:8080 *:* drop"]);
  });
  it("are not made for children that the rule matches: these have their own", () => {
    const child = make({ local: "10.0.2.15:8080", remote: "192.0.2.7:5555", owners: [103] });
    expect(new Polls(RULE).poll({ processes, sockets: [listener, child] }).keys).toEqual([
      "in tcp4 10.0.2.15:8080 192.0.2.7:5555 drop",
      "in tcp4 *:8080 *:* drop",
    ]);
  });
  it("are made for the session that sshd gave to somebody else than its listener's user", () => {
    const child = make({ local: "10.0.2.15:8080", remote: "192.0.2.7:5555", owners: [101], uid: 0 });
    expect(new Polls(RULE).poll({ processes, sockets: [listener, child] }).keys[0]).toContain("accept (exception)");
  });
  it("are for the rest of a socket of an own address that another rule blocks in part", () => {
    const bound = make({ local: "10.0.2.16:8080", owners: [101] });
    const rules = [RULE, "reject tcp from 192.0.2.0/24 to any in uid 1001"];
    expect(new Polls(...rules).poll({ processes, sockets: [listener, bound] }).keys).toEqual([
      "in tcp4 10.0.2.16:8080 192.0.2.0/24:* reject",
      "in tcp4 10.0.2.16:8080 *:* accept (exception)",
      "in tcp4 *:8080 *:* drop",
    ]);
  });
  it("leave out who is in a namespace without a network card", () => {
    const other = make({ local: "10.0.2.15:8080", remote: "192.0.2.7:5555", owners: [101], netns: 2 });
    expect(new Polls(RULE).poll({ processes, sockets: [listener, other] }).keys).toEqual(["in tcp4 *:8080 *:* drop"]);
  });
});

describe("what cannot be enforced", () => {
  const reasons = (polls: Polls, ...sockets: ReturnType<typeof make>[]) => {
    const { keys, unenforceable } = polls.poll({ processes, sockets });
    return {
      keys,
      reasons: unenforceable.map(
        ({ reason, rule, sock }) => `${reason} ${rule} ${sockets.findIndex((one) => one.sock === sock)}`,
      ),
    };
  };
  it("is what does not leave the guest", () => {
    const sockets = [
      make({ local: "127.0.0.1:40000", remote: "127.0.0.1:22", owners: [103] }),
      make({ local: "[::1]:40000", remote: "[::1]:22", owners: [103] }),
      make({ family: 6, local: "10.0.2.15:40000", remote: "10.0.2.15:22", owners: [103] }),
      make({ local: "127.0.0.1:40001", remote: "127.0.0.1:23", owners: [103] }),
    ];
    expect(reasons(new Polls(DENY), ...sockets)).toEqual({
      keys: [],
      reasons: ["loopback 0 0", "loopback 0 1", "loopback 0 2"],
    });
  });
  it("is what the guest rewrites, in a namespace without a network card", () => {
    const inside = make({ local: "172.17.0.2:40000", remote: "192.0.2.7:22", owners: [103], netns: 2 });
    expect(reasons(new Polls(DENY), inside)).toEqual({ keys: [], reasons: ["nat 0 0"] });
    const namespaces = (physical: boolean | null, initial: boolean) => [
      { inode: 1, initial: true, devices: [{ physical: true, addresses: [] }] },
      { inode: 2, initial, devices: [{ physical, addresses: [] }] },
    ];
    const keys = (physical: boolean | null, initial: boolean) =>
      new Polls(DENY).poll({ processes, sockets: [inside], networkNamespaces: namespaces(physical, initial) }).keys
        .length;
    expect([keys(true, false), keys(false, false), keys(null, false), keys(null, true)]).toEqual([1, 0, 0, 1]);
  });
  it("is what shows no ports", () => {
    const raw = make({ protocol: "raw", local: "0.0.0.0:1", state: "UNCONN", owners: [103] });
    const ping = make({ protocol: "icmp", local: "0.0.0.0:7", state: "UNCONN", owners: [103] });
    expect(reasons(new Polls(DENY), raw, ping).reasons).toEqual(["raw 0 0"]);
    expect(reasons(new Polls("deny ip from any to any uid 1003"), raw, ping).reasons).toEqual(["raw 0 0", "raw 0 1"]);
    expect(reasons(new Polls("deny ip from any to any"), raw).reasons).toEqual([]);
    expect(reasons(new Polls("allow ip from any to any uid 1003"), raw).reasons).toEqual([]);
  });
  it("is what sends past all flows", () => {
    const owners = [{ pid: 103, fd: 3, comm: "mallory", uid: 1003 }];
    const packet = { kind: "packet", inode: 1, netns: 1, owners, sock: 7n, toJSON: () => ({}) as never } as const;
    const { unenforceable } = new Polls(DENY).poll({ processes, otherSockets: [packet] });
    expect(unenforceable).toMatchObject([{ reason: "no-flow", rule: 0, sock: 7n, owner: { pid: 103 } }]);
  });
  it("is what others use in the same way: an innocent is not cut off", () => {
    const udp = (owners: number[], local = "0.0.0.0:5353") => make({ protocol: "udp", local, owners });
    const polls = new Polls("deny udp from any to any uid 1003");
    expect(reasons(polls, udp([103]), udp([101]))).toEqual({ keys: [], reasons: ["shared-port 0 0"] });
    expect(reasons(polls, udp([103]), udp([103])).keys.length).toBe(2);
    // Bound to an address: what comes in is told apart, what goes out from that address is not.
    expect(reasons(polls, udp([103]), udp([101], "10.0.2.15:5353"))).toEqual({
      keys: [
        "out udp4 10.0.2.15:5353 *:* accept (exception)",
        "in udp4 10.0.2.15:5353 *:* accept (exception)",
        "out udp4 *:5353 *:* drop",
        "in udp4 *:5353 *:* drop",
      ],
      reasons: ["shared-port 0 0"],
    });
  });
  it("is an address that a rule names, and that another socket has to itself", () => {
    const sockets = ["0.0.0.0:53", "10.0.2.15:53"].map((local, i) =>
      make({ protocol: "udp", local, owners: [[103], [101]][i]! }),
    );
    expect(reasons(new Polls("deny udp from any to 10.0.2.15 in uid 1003"), ...sockets)).toEqual({
      ...{ keys: [], reasons: ["shared-port 0 0"] },
    });
  });
  it("is a connection with the ends of another's", () => {
    const both = [103, 101].map((pid) =>
      make({ protocol: "udp", local: "10.0.2.15:9", remote: "192.0.2.7:9", owners: [pid] }),
    );
    expect(reasons(new Polls("deny ip from any to any uid 1003"), ...both)).toEqual({
      keys: [],
      reasons: ["shared-port 0 0"],
    });
  });
  it("is a connection with the ends of another's that is only to be logged, whichever rule is first", () => {
    const both = [ssh([103]), ssh([101])];
    const rules = ["log tcp from any to any out uid 1001", "deny tcp from any to any out uid 1003"];
    for (const ordered of [rules, rules.toReversed()]) {
      const { keys, reasons: told } = reasons(new Polls(...ordered), ...both);
      expect([keys, told.length]).toEqual([[], 2]);
    }
  });
  it("is what the operator never wants blocked", () => {
    const polls = new Polls("deny ip from any to any out uid 1003");
    polls.options = { neverBlock: ["192.0.2.0/24", "2001:db8::1"] };
    const sockets = [ssh([103]), make({ protocol: "udp", local: "0.0.0.0:68", owners: [103] })];
    expect(reasons(polls, ...sockets)).toEqual({
      keys: ["out udp4 *:68 192.0.2.0/24:* accept (exception)", "out udp4 *:68 *:* drop"],
      reasons: ["never-block 0 0"],
    });
  });
  it("is what there is no room for; what is in force stays", () => {
    const polls = new Polls("deny tcp from any to any out uid 1003");
    polls.options = { maxFlows: 2 };
    const sockets = [40001, 40002, 40003].map((port) => ssh([103], port));
    expect(reasons(polls, sockets[1]!)).toEqual({ keys: ["out tcp4 10.0.2.15:40002 192.0.2.7:22 drop"], reasons: [] });
    expect(reasons(polls, ...[sockets[2]!, sockets[1]!])).toMatchObject({ reasons: [] });
    const full = reasons(polls, ...sockets);
    expect(full.reasons).toEqual(["limit 0 0"]);
    expect(full.keys).toEqual([
      "out tcp4 10.0.2.15:40002 192.0.2.7:22 drop",
      "out tcp4 10.0.2.15:40003 192.0.2.7:22 drop",
    ]);
  });
  it("is the other IP version of a socket, and its time does not come because the one is in force", () => {
    const polls = new Polls("deny tcp from any to any in uid 1003", "deny tcp from 10.0.2.15 to any uid 1003");
    polls.options = { maxFlows: 3 };
    const six = make({ local: "[2001:db8::1]:22", owners: [103] });
    const dual = make({ local: "[::]:80", dualStack: true, owners: [103] });
    reasons(polls, six);
    const both = reasons(polls, six, dual);
    expect(both).toEqual({
      keys: ["in tcp6 [2001:db8::1]:22 *:* drop", "in tcp6 *:80 *:* drop"],
      reasons: ["limit 0 1", "limit 1 1"],
    });
    expect(reasons(polls, six, dual)).toEqual(both);
  });
  it("is a port, where there is no room for a connection at it that is to be treated otherwise", () => {
    const polls = new Polls("reject tcp from any to any uid 1001", "deny tcp from any to any in socket-uid 1003");
    polls.options = { maxFlows: 1 };
    const listener = make({ local: "10.0.2.15:22", owners: [103] });
    const connection = make({ local: "10.0.2.15:22", remote: "192.0.2.7:5000", owners: [101], uid: 1003 });
    expect(reasons(polls, listener, connection)).toEqual({ keys: [], reasons: ["limit 0 1", "limit 1 0"] });
  });
});
