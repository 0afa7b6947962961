import { describe, expect, it } from "vitest";
import { changesBetween } from "../../../lib/backends/nftables/changes.ts";
import { AT_DEVICES, OUT_ONLY } from "../../../lib/backends/nftables/ruleset.ts";
import { compile, EMPTY } from "../../../lib/backends/nftables/slots.ts";
import type { FlowPattern } from "../../../lib/rules/pattern.ts";
import { planOf } from "../../../lib/testing/plan.ts";
import { type Change, pattern } from "../../backends/plan.ts";

const content = (...changes: Change[]) => compile(planOf(changes.map(pattern)).patterns);
const wide = { remote: { address: null, ports: null } };

/** Commands on elements and lists alone. */
function commands(from: ReturnType<typeof content>, to: ReturnType<typeof content>): unknown[] {
  const { lists, commands } = changesBetween({ table: "t", parts: AT_DEVICES }, from, to);
  return [...lists, ...commands].filter((command) => !/headless|tagged|answers/.test(JSON.stringify(command)));
}

const inTable = { family: "netdev", table: "t" };
const element = (name: string, elem: unknown) => ({ element: { ...inTable, name, elem } });
const match = (protocol: string, field: string, right: unknown) => ({
  match: { op: "==", left: { payload: { protocol, field } }, right },
});

describe("a plan in the firewall", () => {
  it("has a connection as one element", () => {
    const key = { concat: ["10.1.0.2", 6, 1000, "10.1.0.1", 22] };
    expect(commands(EMPTY, content({}))).toEqual([{ add: element("out4_flow", [[key, { drop: null }]]) }]);
    expect(commands(content({}), EMPTY)).toEqual([{ delete: element("out4_flow", [key]) }]);
  });

  it("changes an action by taking the element out and putting it in", () => {
    const key = { concat: ["10.1.0.2", 6, 1000, "10.1.0.1", 22] };
    expect(commands(content({}), content({ action: "reject" }))).toEqual([
      { delete: element("out4_flow", [key]) },
      { add: element("out4_flow", [[key, { goto: { target: "reject_out" } }]]) },
    ]);
  });

  it.each<[Change, string, unknown[]]>([
    [{ ...wide }, "out4_address", ["10.1.0.2", 6, 1000]],
    [{ ...wide, local: { address: null }, protocol: "udp" }, "out4_port", [17, 1000]],
    [{ ...wide, local: { address: null }, protocol: "udplite", family: 6, direction: "in" }, "in6_port", [136, 1000]],
    [{ family: 6, local: { address: "2001:DB8::0:1" } }, "out6_flow", ["2001:db8::1", 6, 1000, "2001:db8:1::1", 22]],
    [{ remote: { address: "10.1.0.1/32" } }, "out4_flow", ["10.1.0.2", 6, 1000, "10.1.0.1", 22]],
    [{ remote: { address: "0.0.0.0/0", ports: [0, 65535] } }, "out4_address", ["10.1.0.2", 6, 1000]],
  ])("keeps %j in the map %s", (change, name, concat) => {
    expect(commands(EMPTY, content(change))).toEqual([{ add: element(name, [[{ concat }, { drop: null }]]) }]);
  });

  it("asks of the other end in a list, in order, and has one list for all ends that ask the same", () => {
    const end = (port: number): Change[] => [
      { local: { port }, remote: { address: "10.1.0.0/28", ports: [20, 30] }, action: "accept" },
      { local: { port }, remote: { address: null, ports: [22, 22] } },
    ];
    const one = content(...end(1000));
    const made = commands(EMPTY, one);
    const { chain } = (made[0] as { add: { chain: { name: string } } }).add;
    const rule = (...expr: unknown[]) => ({ add: { rule: { ...inTable, chain: chain.name, expr } } });
    const network = { prefix: { addr: "10.1.0.0", len: 28 } };
    const add = (port: number) => ({
      add: element("out4_address", [[{ concat: ["10.1.0.2", 6, port] }, { jump: { target: chain.name } }]]),
    });
    expect(made).toEqual([
      { add: { chain: { ...inTable, name: chain.name } } },
      rule(match("ip", "daddr", network), match("th", "dport", { range: [20, 30] }), { accept: null }),
      rule(match("th", "dport", 22), { drop: null }),
      add(1000),
    ]);
    const both = content(...end(1000), ...end(2000));
    expect(commands(one, both)).toEqual([add(2000)]);
    // The list goes with the last that uses it, after it.
    expect(commands(both, one)).toHaveLength(1);
    expect(commands(one, EMPTY).slice(1)).toEqual([
      { flush: { chain: { ...inTable, name: chain.name } } },
      { delete: { chain: { ...inTable, name: chain.name } } },
    ]);
    expect(commands(EMPTY, content(...end(1000).reverse()))[0]).not.toEqual(made[0]);
  });

  it("is told by its keys, and not changed by order alone or by the same", () => {
    const [a, b, c]: Change[] = [{}, { local: { port: 1 } }, { local: { port: 2 } }];
    const { added, removed, unchanged } = changesBetween(
      { table: "t", parts: OUT_ONLY },
      content(a!, b!),
      content(c!, a!),
    );
    expect([added, removed, unchanged]).toEqual([
      ["out tcp4 10.1.0.2:2 10.1.0.1:22 drop"],
      ["out tcp4 10.1.0.2:1 10.1.0.1:22 drop"],
      1,
    ]);
    expect(commands(content(a!, b!), content(b!, a!))).toEqual([]);
    const held = content(a!, b!);
    expect(compile(planOf([a!, b!].map(pattern)).patterns, held)).toBe(held);
  });

  it("takes the first of two patterns for one flow", () => {
    const { patterns } = content({ action: "accept" }, { action: "drop" });
    expect(Array.from(patterns.values(), ({ action }: FlowPattern) => action)).toEqual(["accept"]);
  });

  it("refuses an address that is none", () => {
    expect(() => content({ local: { address: "drop; }" } })).toThrow(TypeError);
  });
});

describe("what could slip by", () => {
  const touched = (from: ReturnType<typeof content>, to: ReturnType<typeof content>) =>
    changesBetween({ table: "t", parts: AT_DEVICES }, from, to).commands.flatMap((command) => {
      const { flush } = command as { flush?: { chain: { name: string } } };
      return flush === undefined ? [] : [flush.chain.name];
    });

  it("is stopped from the first blocked flow on, until the last", () => {
    expect(touched(EMPTY, content({}))).toEqual([
      "headless_out",
      "tagged_out",
      "headless_in",
      "tagged_in",
      "answers_in",
    ]);
    expect(touched(content({}), content({}, { local: { port: 1 } }))).toEqual([]);
    expect(touched(content({}), EMPTY)).toContain("tagged_out");
  });

  it("is not stopped for what is only accepted or logged", () => {
    expect(touched(EMPTY, content({ action: "accept" }, { local: { port: 1 }, action: "log" }))).toEqual([]);
  });
});
