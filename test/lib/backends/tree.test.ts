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
import { contains, formatNetwork, parseNetwork } from "../../../lib/rules/network.ts";
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
  const [, end, network] = /^-([sd]) (\S+)/.exec(text) ?? [];
  if (network !== undefined)
    return contains(parseNetwork(network)!, parseNetwork((end === "s" ? local : remote).address)!);
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

/** Chains below the first. */
function depthOf(tree: ReadonlyMap<string, readonly ChainRule[]>, chain = ROOT): number {
  return Math.max(
    0,
    ...tree
      .get(chain)!
      .filter(isWay)
      .map((way) => 1 + depthOf(tree, way.chain)),
  );
}

const families = {
  4: {
    near: "10.1.0.2",
    far: (n: number) => `198.51.100.${n}`,
    wide: ["198.51.100.0/24", "198.51.100.32/27", "0.0.0.0/0"],
    digits: "c6336400",
  },
  6: {
    near: "2001:db8::2",
    far: (n: number) => `2001:db8:1::${n.toString(16)}`,
    wide: ["2001:db8:1::/64", "::/0"],
    digits: "20010db8000100000000000000000000",
  },
};
/** An address that differs from the others of its kind in one digit. */
function oneDigitAway(family: 4 | 6, at: number, digit: number): string {
  const digits = [...families[family].digits];
  digits[at] = digit.toString(16);
  const bytes = Buffer.from(digits.join(""), "hex");
  return formatNetwork({ family, bytes, length: 8 * bytes.length });
}
// Few, so that many patterns meet at one end, and packets meet patterns.
const port = fc.oneof(fc.integer({ min: 30, max: 60 }), fc.constantFrom(0, 4096, 32768, 65535));
const range = fc.oneof(
  port.map((at) => [at, at] as const),
  fc.tuple(port, port).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
);
const seldom = <T>(value: fc.Arbitrary<T>) => fc.option(value, { freq: 30 });

const anyCase = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const { near, far, wide, digits } = families[family];
  const deep = fc
    .tuple(fc.integer({ min: 0, max: digits.length - 1 }), fc.integer({ min: 0, max: 2 }))
    .map(([at, digit]) => oneDigitAway(family, at, digit));
  const host = fc.oneof(fc.integer({ min: 1, max: 60 }).map(far), deep);
  const own = fc.oneof({ weight: 3, arbitrary: fc.constant(near) }, { weight: 1, arbitrary: deep });
  const pattern = fc.record({
    family: fc.constant(family),
    local: fc.record({ address: seldom(own), port: seldom(port) }),
    remote: fc.record({
      address: seldom(fc.oneof({ weight: 20, arbitrary: host }, { weight: 1, arbitrary: fc.constantFrom(...wide) })),
      ports: seldom(range),
    }),
    action: fc.constantFrom("drop" as const, "accept" as const),
  });
  const packet = fc.record({
    local: fc.record({ address: own, port }),
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
  const address = (n: number) => `198.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;
  const anywhere = { address: null, ports: null };
  /** So many addresses that are together but for one digit, for each of the digits that there are. */
  const apart = (family: 4 | 6, together: number) => [
    ...Array.from(families[family].digits, (_, at) => oneDigitAway(family, at, 15)),
    ...Array.from({ length: together }, (_, n) => families[family].far(n % 256)),
  ];
  const deep = (family: 4 | 6, together: number) =>
    [...new Set(apart(family, together))].map((address) =>
      keyed({
        family,
        action: "drop",
        local: { address: families[family].near, port: 5000 },
        remote: { address, ports: [53, 53] },
      }),
    );
  it.each([
    ["each from a port of its own", flows(many, (n) => exact(1024 + n, "198.51.100.1", 22))],
    ["all from one port to many", flows(many, (n) => exact(80, address(n), 1024 + (n % 50_000)))],
    ["all between the same two ports", flows(many, (n) => exact(5000, address(n), 22))],
    ["ports far apart, two by two", flows(many, (n) => exact((n % 6) * 10_000, "198.51.100.1", n))],
    ["from as many addresses", flows(many, (n) => ({ local: { address: address(n), port: 53 }, remote: anywhere }))],
    [
      "a few more than fit at each port",
      flows(many, (n) => exact(Math.floor(n / 17), `198.51.100.${15 * (n % 17)}`, 22)),
    ],
    ["a digit away from many, of IPv4", deep(4, 250)],
    ["a digit away from many, of IPv6", deep(6, 250)],
    ["a digit away from a few, of IPv6", deep(6, 17)],
  ])("are few, near, and compare a packet with few rules, flows being %s", (_, patterns) => {
    const tree = treeOf(ROOT, patterns);
    expect(tree.size).toBeLessThan(1 + patterns.length / 8);
    expect(depthOf(tree)).toBeLessThanOrEqual(12);
    for (const { local, remote, family, key } of [patterns[0]!, patterns[patterns.length >> 1]!, patterns.at(-1)!]) {
      const far = { address: remote.address ?? "198.51.100.1", port: remote.ports?.[0] ?? 1 };
      const packet = { ...FLOW, local: { ...local, port: local.port! }, remote: far };
      const found = decided(tree, packet as Packet, family);
      expect(found.key).toBe(key);
      expect(found.compared).toBeLessThan(300);
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
