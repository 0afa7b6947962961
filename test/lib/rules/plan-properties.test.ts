import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PlannedPattern } from "../../../lib/rules/pattern.ts";
import { flowKey } from "../../../lib/rules/pattern-key.ts";
import { createPlan, emptyPlanState, type PlanInput, type PlanState } from "../../../lib/rules/plan.ts";
import { parseRule } from "../../../lib/rules/schema.ts";
import { WalkedSnapshot } from "../../../lib/snapshot.ts";
import { type Endpoint, PROTOCOLS, type Socket, UNOWNED_REASONS } from "../../../lib/socket.ts";
import { columns } from "../../../lib/testing/columns.ts";
import { made, snapshot, socket } from "./made.ts";

// Few values each, so that rules match and sockets meet.
const PIDS = [101, 102, 103];
const processes = PIDS.map((pid, i) => made({ pid, uid: 1001 + i, ppid: i === 0 ? 1 : PIDS[i - 1]! }));
const locals = ["10.0.2.15", "10.0.2.16", "0.0.0.0", "::", "2001:db8::1"];
const owners = fc.subarray(PIDS, { maxLength: 2 });
const reason = fc.constantFrom("time-wait", "orphan", "not-accepted", "kernel", "unknown");

const anySocket = fc
  .record({
    protocol: fc.constantFrom("tcp", "tcp", "udp", "raw"),
    local: fc.constantFrom(...locals),
    localPort: fc.constantFrom(0, 22, 80),
    remotePort: fc.constantFrom(0, 0, 22, 5000),
    dualStack: fc.boolean(),
    netns: fc.constantFrom(1, 1, 1, 2),
    uid: fc.constantFrom(1001, 1002, 1003, null),
    owners,
    reason,
  })
  .map(({ local, localPort, remotePort, reason, ...rest }): Socket => {
    const six = local.includes(":");
    const at = (address: string, port: number) => (six ? `[${address}]:${port}` : `${address}:${port}`);
    const remote = six ? "2001:db8::2" : "192.0.2.7";
    const connected = remotePort !== 0;
    const own = connected && local === "0.0.0.0" ? "10.0.2.15" : connected && local === "::" ? "2001:db8::1" : local;
    const what = { ...rest, local: at(own, localPort), unownedReason: rest.owners.length > 0 ? null : reason };
    return socket(processes, { ...what, ...(connected && { remote: at(remote, remotePort) }) } as never);
  });

const who = fc.oneof(
  fc.record({ uid: fc.constantFrom(1001, 1002, 1003) }),
  fc.record({ pid: fc.constantFrom(...PIDS), descendants: fc.boolean() }),
  fc.record({ socketUid: fc.constantFrom(1001, 1003) }),
  fc.constant({}),
);
const what = fc.record(
  {
    protocol: fc.constantFrom("tcp", "udp"),
    remotePort: fc.constantFrom<unknown>(22, { from: 1, to: 1000 }, [80, 5000]),
    localPort: fc.constantFrom(22, 80),
    direction: fc.constantFrom("in", "out"),
    remoteAddress: fc.constantFrom("192.0.2.0/24", "2001:db8::/32", "198.51.100.1"),
    localAddress: fc.constantFrom("10.0.2.15", "10.0.0.0/8", "0.0.0.0/0"),
  },
  { requiredKeys: [] },
);
const anyRule = fc
  .tuple(fc.constantFrom("drop", "drop", "reject", "accept", "log"), who, what)
  .filter(([, , { localAddress, remoteAddress }]) => !(localAddress && remoteAddress?.includes(":")))
  .map(([action, who, what]) => parseRule({ action, ...who, ...what }));
const rules = fc.array(anyRule, { maxLength: 4 });
const sockets = fc.array(anySocket, { maxLength: 12 });
const options = fc.record({
  neverBlock: fc.constantFrom([], ["192.0.2.0/25"]),
  maxFlows: fc.constantFrom(1, 3, 10, 65_536),
});

const plan = (given: readonly Socket[], more: Omit<PlanInput, "snapshot" | "now">) =>
  createPlan({ snapshot: snapshot({ processes, sockets: given }), now: 0, ...more });
const keys = (patterns: readonly PlannedPattern[]) => patterns.map(({ key }) => key);

function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

const BYTES: Record<string, readonly number[]> = {
  "::": [],
  "2001:db8::1": [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 1],
  "2001:db8::2": [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 2],
};
const STATES = { ESTABLISHED: 1, LISTEN: 10, UNCONN: 7 } as Record<string, number>;

/** As a walk gives them. */
function toColumns(sockets: readonly Socket[]) {
  const cells = sockets.map(({ protocol, family, state, local, remote, uid, owners, unownedReason, ...rest }) => {
    const bytes = ({ address }: Endpoint) => BYTES[address] ?? address.split(".").map(Number);
    const numbers = { protocol: PROTOCOLS.indexOf(protocol), family, state: STATES[state]!, uid: uid ?? 0xffffffff };
    const flags = (family === 4 ? 12 : 0) | (rest.dualStack ? 1 : 0);
    const reason = UNOWNED_REASONS.indexOf(unownedReason);
    const ends = { localPort: local.port, remotePort: remote.port, sock: rest.sock, inode: rest.inode };
    const more = { flags, unownedReason: reason, netns: rest.netns! };
    return { local: bytes(local), remote: bytes(remote), owners, columns: { ...numbers, ...ends, ...more } };
  });
  return columns(
    processes.map(({ pid, comm, uid }) => ({ pid, comm, columns: { uid: uid! } })),
    cells,
  );
}

/** Runs a law over states, too: that of an earlier poll of other sockets under the same rules. */
function law(check: (given: Socket[], input: Omit<PlanInput, "snapshot" | "now">) => void) {
  fc.assert(
    fc.property(sockets, sockets, rules, options, (earlier, given, rules, options) => {
      const shared = [...earlier.slice(0, 6), ...given];
      const { state } = plan(earlier, { rules, state: emptyPlanState(), ...options });
      check(shared, { rules, state, ...options });
    }),
    { numRuns: 400 },
  );
}

/** Milliseconds that a plan takes of so many sockets of mallory's at one port. */
function timeOf(count: number, remote: string | undefined): number {
  const given = Array.from({ length: count }, () => {
    const local = remote === undefined ? "0.0.0.0:5000" : "10.0.2.15:5000";
    return socket(processes, { protocol: "udp", local, ...(remote && { remote }), owners: [103], uid: 1003 });
  });
  const rules = [parseRule("deny ip from any to any uid 1003")];
  const start = performance.now();
  expect(plan(given, { rules, state: emptyPlanState() }).plan.patterns.length).toBe(2);
  return performance.now() - start;
}

describe("a plan", () => {
  it.each([
    ["one end", undefined],
    ["the same two ends", "192.0.2.7:53"],
  ])("takes no more time for each socket of %s the more there are: a guest's user can open thousands", (_, remote) => {
    timeOf(500, remote);
    const few = Math.min(...[1, 2, 3].map(() => timeOf(500, remote)));
    // Sixteen times as many; by their square it would be 256 times as long.
    expect(timeOf(8_000, remote)).toBeLessThan(80 * Math.max(few, 1));
  });
  it("is the same for the same, whatever the order of the sockets, and changes nothing that it is given", () => {
    law((given, input) => {
      const first = plan(given, frozen(structuredClone(input)));
      expect(plan(given, input)).toEqual(first);
      expect(plan(given.toReversed(), input)).toEqual(first);
    });
  });
  it("made again of the state that it left is the same", () => {
    law((given, input) => {
      const first = plan(given, input);
      const state: PlanState = JSON.parse(JSON.stringify(first.state));
      const second = plan(given, { ...input, state });
      expect(keys(second.plan.patterns)).toEqual(keys(first.plan.patterns));
      expect(second.plan.unenforceable).toEqual(first.plan.unenforceable);
      expect(second.state).toEqual(first.state);
    });
  });
  it("of a walk's columns is that of their sockets, though it looks at few of them", () => {
    law((given, input) => {
      const { sockets } = new WalkedSnapshot(toColumns(given));
      expect(createPlan({ snapshot: { ...snapshot({ processes }), sockets }, now: 0, ...input })).toEqual(
        plan(given, input),
      );
    });
  });
  it("blocks nothing that no rule asks for", () => {
    law((given, input) => {
      const { patterns } = plan(given, input).plan;
      for (const pattern of patterns) {
        if (pattern.rule === null) expect([pattern.action, pattern.reason]).toEqual(["accept", "exception"]);
        else expect(input.rules[pattern.rule]!.action).toBe(pattern.action);
      }
      if (!input.rules.some(({ action }) => action !== "accept")) expect(patterns).toEqual([]);
    });
  });
  it("never decides a packet of a connected socket against its own rules", () => {
    law((given, input) => {
      const { patterns } = plan(given, { ...input, state: emptyPlanState() }).plan;
      for (const one of given) {
        if (one.owners.length === 0 || one.remote.port === 0 || one.netns !== 1 || one.local.port === 0) continue;
        for (const direction of ["out", "in"] as const) {
          const met = patterns.find((pattern) => meets(pattern, one, direction));
          if (met === undefined || met.action === "accept") continue;
          // Of a flow that is never to be blocked, another's rule may log the packets.
          if (met.action === "log" && one.remote.address === "192.0.2.7" && input.neverBlock!.length > 0) continue;
          const alone = plan([one], { ...input, maxFlows: 65_536, state: emptyPlanState() }).plan.patterns;
          const own = alone.find((pattern) => meets(pattern, one, direction))?.action;
          // Of two sockets with the same ends, the first rule says whether their packets are rejected or dropped.
          expect(own === "reject" ? "drop" : own).toBe(met.action === "reject" ? "drop" : met.action);
        }
      }
    });
  });
  it("holds no two patterns for the same packets, and no more than it may", () => {
    law((given, input) => {
      const { patterns } = plan(given, input).plan;
      const flows = patterns.map(flowKey);
      expect(new Set(flows).size).toBe(flows.length);
      expect(flows.length).toBeLessThanOrEqual(input.maxFlows!);
    });
  });
  it("has what names more of the guest's end first", () => {
    law((given, input) => {
      const ranks = plan(given, input).plan.patterns.map(({ local, remote }) => {
        const flow = remote.address !== null && !remote.address.includes("/") && remote.ports !== null;
        return flow && remote.ports[0] === remote.ports[1] ? 0 : local.address !== null ? 1 : 2;
      });
      // A rule may name one address and one port of the other end, too.
      const ends = ranks.filter((rank) => rank > 0);
      expect(ends).toEqual(ends.toSorted());
    });
  });
});

function meets(pattern: PlannedPattern, { protocol, local, remote }: Socket, direction: "in" | "out"): boolean {
  const { address, ports } = pattern.remote;
  const there =
    address === null ||
    address === remote.address ||
    (address.includes("/") && remote.address.startsWith(address.split(/[./]0\/|::\//)[0]!.replace(/\.0$/, "")));
  return (
    pattern.direction === direction &&
    pattern.protocol === protocol &&
    pattern.family === (remote.address.includes(":") ? 6 : 4) &&
    (pattern.local.address === null || pattern.local.address === local.address) &&
    pattern.local.port === local.port &&
    there &&
    (ports === null || (ports[0] <= remote.port && remote.port <= ports[1]))
  );
}
