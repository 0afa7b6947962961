import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { KeyedPattern } from "../../../lib/backends/iptables/rule.ts";
import {
  type ChainRule,
  chainRuleText,
  inOrder,
  isWay,
  readWay,
  treeOf,
  type Way,
} from "../../../lib/backends/iptables/tree.ts";
import { contains, parseNetwork } from "../../../lib/rules/network.ts";
import { decidingPattern, type Packet } from "../../../lib/rules/packet.ts";
import type { FlowPattern } from "../../../lib/rules/pattern.ts";
import { patternKey } from "../../../lib/rules/pattern-key.ts";

const ROOT = "xfilter_0000000000000_ot";
const FLOW = { direction: "out", protocol: "tcp" } as const;

const keyed = (pattern: Omit<FlowPattern, "direction" | "protocol">): KeyedPattern => {
  return { ...FLOW, ...pattern, key: patternKey({ ...FLOW, ...pattern }) };
};

/** Whether a way leads a packet on, by what iptables is asked. */
function leads(way: Way, { local, remote }: Packet, family: 4 | 6): boolean {
  const text = chainRuleText(way, { ...FLOW, family }, "");
  const [, network] = / ?-d (\S+)/.exec(text) ?? [];
  if (network !== undefined) return contains(parseNetwork(network)!, parseNetwork(remote.address)!);
  const [, side, first, last = first] = /--([sd])port (\d+)(?::(\d+))?/.exec(text)!;
  const { port } = side === "s" ? local : remote;
  return port >= Number(first) && port <= Number(last);
}

/** What decides for a packet that goes through the chains as the kernel sends it, and with how many rules it was compared. */
function decided(tree: ReadonlyMap<string, readonly ChainRule[]>, packet: Packet, family: 4 | 6) {
  let compared = 0;
  for (let chain = tree.get(ROOT)!; ; ) {
    const hit = chain.find((rule) => {
      compared++;
      return isWay(rule) ? leads(rule, packet, family) : decidingPattern([rule], packet) !== undefined;
    });
    if (hit === undefined || !isWay(hit)) return { key: hit?.key, compared };
    chain = tree.get(hit.chain)!;
  }
}

const families = {
  4: {
    near: "10.1.0.2",
    far: (n: number) => `198.51.100.${n}`,
    wide: ["198.51.100.0/24", "198.51.100.32/27", "0.0.0.0/0"],
  },
  6: { near: "2001:db8::2", far: (n: number) => `2001:db8:1::${n.toString(16)}`, wide: ["2001:db8:1::/64", "::/0"] },
};
// Few, so that many patterns meet at one end, and packets meet patterns.
const port = fc.oneof(fc.integer({ min: 30, max: 60 }), fc.constantFrom(0, 4096, 32768, 65535));
const range = fc.oneof(
  port.map((at) => [at, at] as const),
  fc.tuple(port, port).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
);
const seldom = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 30 });

const anyCase = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const { near, far, wide } = families[family];
  const host = fc.integer({ min: 1, max: 60 }).map(far);
  const pattern = fc.record({
    family: fc.constant(family),
    local: fc.record({ address: seldom(fc.constant(near)), port: seldom(port) }),
    remote: fc.record({
      address: seldom(fc.oneof({ weight: 20, arbitrary: host }, { weight: 1, arbitrary: fc.constantFrom(...wide) })),
      ports: seldom(range),
    }),
    action: fc.constantFrom("drop" as const, "accept" as const),
  });
  const packet = fc.record({
    local: fc.record({ address: fc.constant(near), port }),
    remote: fc.record({ address: host, port }),
  });
  return fc.record({
    family: fc.constant(family),
    patterns: fc.uniqueArray(pattern.map(keyed), { selector: ({ key }) => key, maxLength: 300, size: "max" }),
    packets: fc.array(packet, { minLength: 20, maxLength: 20 }),
  });
});

const flows = (count: number, flow: (n: number) => Omit<FlowPattern, "direction" | "protocol" | "family" | "action">) =>
  Array.from({ length: count }, (_, n) => keyed({ family: 4, action: "drop", ...flow(n) }));
const exact = (localPort: number, address: string, remotePort: number) => ({
  local: { address: "10.1.0.2", port: localPort },
  remote: { address, ports: [remotePort, remotePort] as const },
});

describe("chains that part patterns", () => {
  it("decide for each packet as the patterns one after the other do", () => {
    fc.assert(
      fc.property(anyCase, ({ family, patterns, packets }) => {
        const tree = treeOf(ROOT, patterns);
        for (const ends of packets) {
          const packet = { ...FLOW, ...ends };
          expect(decided(tree, packet, family).key).toBe(decidingPattern(patterns, packet)?.key);
        }
      }),
    );
  });

  it("have each pattern, none more than a few times, in an order in which the same decide", () => {
    fc.assert(
      fc.property(anyCase, ({ patterns, packets }) => {
        const tree = treeOf(ROOT, patterns);
        const ordered = inOrder(tree.values());
        expect(ordered.map(({ key }) => key).sort()).toEqual(patterns.map(({ key }) => key).sort());
        for (const ends of packets) {
          const packet = { ...FLOW, ...ends };
          expect(decidingPattern(ordered, packet)?.key).toBe(decidingPattern(patterns, packet)?.key);
        }
        const rules = [...tree.values()].flat().filter((rule) => !isWay(rule));
        expect(rules.length).toBeLessThanOrEqual(3 * patterns.length);
      }),
    );
  });

  const many = 10_000;
  it.each([
    ["each from a port of its own", flows(many, (n) => exact(1024 + n, "198.51.100.1", 22))],
    ["all from one port to many", flows(many, (n) => exact(80, `198.51.${n >> 8}.${n & 255}`, 1024 + (n % 50_000)))],
    ["all between the same two ports", flows(many, (n) => exact(5000, `198.51.${n >> 8}.${n & 255}`, 22))],
    ["ports far apart, two by two", flows(many, (n) => exact((n % 6) * 10_000, "198.51.100.1", n))],
  ])("compare a packet with few rules, flows being %s", (_, patterns) => {
    const tree = treeOf(ROOT, patterns);
    for (const { local, remote, key } of [patterns[0]!, patterns[4321]!, patterns.at(-1)!]) {
      const ends = { local: { ...local, port: local.port! }, remote: { ...remote, port: remote.ports![0] } };
      const found = decided(tree, { ...FLOW, ...ends } as Packet, 4);
      expect(found.key).toBe(key);
      expect(found.compared).toBeLessThan(200);
    }
  });

  it("change little where little changes", () => {
    const before = flows(many, (n) => exact(1024 + n, "198.51.100.1", 22));
    const [old, now] = [treeOf(ROOT, before), treeOf(ROOT, before.toSpliced(5000, 1))];
    const keys = (rules: readonly ChainRule[] | undefined) => rules?.map(({ key }) => key).join();
    const names = new Set([...old.keys(), ...now.keys()]);
    expect([...names].filter((name) => keys(old.get(name)) !== keys(now.get(name)))).toHaveLength(1);
  });

  it("are one chain where patterns are few", () => {
    expect([
      ...treeOf(
        ROOT,
        flows(16, (n) => exact(n, "198.51.100.1", 22)),
      ).keys(),
    ]).toEqual([ROOT]);
  });
});

describe("a way", () => {
  it("reads as the same, as iptables prints it", () => {
    fc.assert(
      fc.property(anyCase, ({ family, patterns }) => {
        const flow = { ...FLOW, family };
        for (const rule of [...treeOf(ROOT, patterns).values()].flat().filter(isWay))
          expect(readWay(chainRuleText(rule, flow, ""), flow)).toEqual(rule);
      }),
    );
  });

  it.each([
    "-p tcp -m tcp --sport 0:4095 -j THEIRS",
    "-p tcp -m tcp --sport 1:4095 -g THEIRS",
    "-p tcp -m tcp --sport 0:4095 --dport 22 -g THEIRS",
    "-p tcp -m mark --mark 1 -g THEIRS",
    "-p tcp -g THEIRS",
  ])("is not what somebody else wrote: %s", (text) => expect(readWay(text, { ...FLOW, family: 4 })).toBe(undefined));
});
