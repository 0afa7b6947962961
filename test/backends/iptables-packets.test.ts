import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type IptablesVariant, iptables, type RuleBackend } from "../../lib/backends/index.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { disguised, harmlessFragments } from "./disguises.ts";
import { type Ends, ethernet, ipv4, ipv6, TCP, tcp, UDP, u16, udp } from "./frame.ts";
import { GUEST, HOST, OUTSIDE, sh } from "./network.ts";
import { type Change, pattern, planOf } from "./plan.ts";
import { BRIDGE, TablesNetwork } from "./tables-network.ts";

// What iptables makes of packets, of a guest behind the host's routing and of one on a bridge.

const { signal } = new AbortController();
const UDPLITE = 136;

/** A packet of each protocol and IP version. */
function flows(ends4: Ends, ends6: Ends, from: number, to: number): Buffer[] {
  const transports = [
    [TCP, tcp(from, to)],
    [UDP, udp(from, to)],
    [UDPLITE, udp(from, to)],
  ] as const;
  return [
    ...transports.map(([protocol, header]) => ethernet(ipv4(ends4, protocol, header))),
    ...transports.map(([protocol, header]) => ethernet(ipv6(ends6, protocol, header))),
  ];
}

describe.each<[way: "routed" | "filtered", variant: IptablesVariant]>([
  ["routed", "nft"],
  ["routed", "legacy"],
  ["filtered", "nft"],
  ["filtered", "legacy"],
])("%s, iptables-%s", (way, variant) => {
  let network: TablesNetwork;
  let backend: RuleBackend;
  beforeAll(async () => {
    network = new TablesNetwork(way);
    backend = iptables({ variant });
    await backend.open({ id: "1", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
  });
  afterAll(async () => {
    await backend?.close({ keep: false });
    network?.close();
  });
  afterEach(() => force());

  const force = (...patterns: FlowPattern[]) => backend.reconcile(planOf(patterns), { signal });
  const peer = way === "routed" ? OUTSIDE : HOST;
  const away = ({ family = 4, ...change }: Change = {}) =>
    pattern({ family, ...change, remote: { address: peer[family === 4 ? "v4" : "v6"], ...change.remote } });
  const out4 = { from: GUEST.v4, to: peer.v4 };
  const out6 = { from: GUEST.v6, to: peer.v6 };
  const in4 = { from: peer.v4, to: GUEST.v4 };
  const in6 = { from: peer.v6, to: GUEST.v6 };
  /** A port of the guest's end in front of one of the other's. */
  const leaving = flows(out4, out6, 1000, 22);
  const entering = flows(in4, in6, 22, 1000);
  const all = (["tcp", "udp", "udplite"] as const).flatMap((protocol) =>
    ([4, 6] as const).map((family) => ({ protocol, family })),
  );

  it("a flow is dropped that leaves, and nothing else", async () => {
    const others = [
      ethernet(ipv4(out4, TCP, tcp(1000, 23))),
      ethernet(ipv4(out4, TCP, tcp(1001, 22))),
      ethernet(ipv4({ ...out4, from: "10.1.0.3" }, TCP, tcp(1000, 22))),
      ethernet(ipv6(out6, UDP, udp(1001, 22))),
    ];
    expect(network.sent(...leaving)).toBe(6);
    await force(...all.map(away));
    expect(network.sent(...leaving)).toBe(0);
    expect(network.sent(...others)).toBe(others.length);
    expect(network.received(...entering)).toBe(6);
    const { patterns } = await backend.inspect({ signal });
    expect(patterns.map(({ packets }) => packets)).toEqual([1, 1, 1, 1, 1, 1]);
  });

  it("a flow is dropped that enters, and nothing else", async () => {
    const others = [
      ethernet(ipv4(in4, TCP, tcp(23, 1000))),
      ethernet(ipv4(in4, TCP, tcp(22, 1001))),
      ethernet(ipv6(in6, UDP, udp(22, 1001))),
    ];
    await force(...all.map((each) => away({ ...each, direction: "in" })));
    expect(network.received(...entering)).toBe(0);
    expect(network.received(...others)).toBe(others.length);
    expect(network.sent(...leaving)).toBe(6);
  });

  it("an end is dropped for what the rule names", async () => {
    const local = { address: null, port: 80 };
    await force(
      away({ local, remote: { ports: [100, 200] }, action: "log" }),
      away({ local, remote: { address: null, ports: [150, 300] } }),
      away({ local: { address: null, port: null }, remote: { address: null, ports: [7, 7] } }),
    );
    const passes = (to: number, from = 80) => network.sent(ethernet(ipv4(out4, TCP, tcp(from, to))));
    expect([passes(99), passes(150), passes(201), passes(7), passes(7, 1)]).toEqual([1, 1, 0, 0, 0]);
  });

  it.each(disguised(out4, out6, 1000, 22))("%s does not hide a flow that leaves", async (_, frame) => {
    expect(network.sent(frame)).toBe(1);
    await force(away(), away({ family: 6 }));
    expect(network.sent(frame)).toBe(0);
  });

  it.each(disguised(in4, in6, 22, 1000))("%s does not hide a flow that enters", async (_, frame) => {
    expect(network.received(frame)).toBe(1);
    await force(away({ direction: "in" }), away({ family: 6, direction: "in" }));
    expect(network.received(frame)).toBe(0);
  });

  it.each([
    ["a second fragment", ethernet(ipv4(out4, TCP, u16(1000, 22, 0, 0), { fragment: [1, false] }))],
    ["a later fragment", ethernet(ipv4(out4, TCP, u16(1000, 22, 0, 0), { fragment: [2, false] }))],
    ...harmlessFragments(out6, 1000, 22),
    ["DHCP", ethernet(ipv4(out4, UDP, udp(68, 67)))],
    ["DHCPv6", ethernet(ipv6(out6, UDP, udp(546, 547)))],
  ])("%s passes", async (_, frame) => {
    const client = (family: 4 | 6) => ({ address: null, port: family === 4 ? 68 : 546 });
    await force(
      ...([4, 6] as const).flatMap((family) => [
        away({ family }),
        // What the header of a fragment looks like, taken for a port.
        away({ family, local: { address: null, port: TCP << 8 }, remote: { address: null, ports: null } }),
        away({ family, protocol: "udp", local: client(family), remote: { address: null, ports: null } }),
      ]),
    );
    expect(network.sent(frame)).toBe(1);
  });

  it.each([4, 6] as const)("a rejected connection is refused where the host can answer, IPv%i", async (family) => {
    const address = peer[family === 4 ? "v4" : "v6"];
    const any = { local: { address: null, port: null } };
    const listener = network.outside!.spawn(process.execPath, "-e", 'net.createServer().listen(22, "::")');
    await expect.poll(() => network.connect(address, 22), { timeout: 20_000 }).toBe("made");
    await force(
      away({ family, ...any, action: "reject" }),
      // What asks for both directions drops what enters: the answer is to pass all the same.
      away({ family, ...any, direction: "in" }),
    );
    expect(network.connect(address, 22)).toBe(way === "routed" ? "refused" : "asked for");
    listener.kill();
  });

  it("what the guest sends to the host itself is caught, and what the host sends to it where it is routed", async () => {
    if (way === "filtered") sh(`ip addr add 10.1.0.9/24 dev ${BRIDGE}`);
    const host = way === "filtered" ? "10.1.0.9" : HOST.v4;
    sh("nft 'table inet counted { chain in { type filter hook input priority 300; udp dport 22 counter; }; }'");
    const before = () => Number(/packets (\d+)/.exec(sh("nft list table inet counted"))![1]);
    const send = () => network.guest.sh(`bash -c "echo hello > /dev/udp/${host}/22"; sleep 0.1`);
    const any = { local: { address: null, port: null }, remote: { address: host } };
    send();
    expect(before()).toBe(1);
    await force(away({ protocol: "udp", ...any }));
    send();
    expect(before()).toBe(1);
    sh("nft delete table inet counted");
    if (way === "filtered") sh(`ip addr flush dev ${BRIDGE}`);
    else {
      const reach = () => {
        const before = network.arrived("guest");
        sh(`bash -c 'echo hello > /dev/udp/${GUEST.v4}/1000'`);
        return network.arrived("guest") - before;
      };
      expect(reach()).toBe(1);
      await force(away({ protocol: "udp", direction: "in", remote: { address: null, ports: null } }));
      expect(() => reach()).toThrow("Operation not permitted");
    }
  });

  it("nothing blocked comes past while chains are made again", async () => {
    await force(away());
    const before = network.arrived("outside");
    const { sent } = await network.passedWhile("out", network.fromGuest(leaving[0]!), async () => {
      for (let round = 0; round < 5; round++) {
        await force(away({ local: { port: 2000 + round }, action: "reject" }), away());
        sh(`iptables-${variant} -I FORWARD -m comment --comment theirs`);
        expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
        await force(away());
      }
    });
    expect(sent).toBeGreaterThan(1_000);
    expect(network.arrived("outside") - before).toBe(0);
    sh(`iptables-${variant} -F FORWARD`);
  });
});

it("a tag hides packets on a bridge from iptables, unless bridge-nf-filter-vlan-tagged is on", async () => {
  const network = new TablesNetwork("filtered");
  const backend = iptables();
  await backend.open({ id: "1", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
  await backend.reconcile(planOf([pattern()]), { signal });
  network.outside!.sh(`nft "add rule netdev counted in vlan id 7 counter"`);
  const frame = ethernet(ipv4({ from: GUEST.v4, to: HOST.v4 }, TCP, tcp(1000, 22)), [0x8100]);
  expect(network.sent(frame)).toBeGreaterThan(0);
  sh("sysctl -qw net.bridge.bridge-nf-filter-vlan-tagged=1");
  expect(network.sent(frame)).toBe(0);
  sh("sysctl -qw net.bridge.bridge-nf-filter-vlan-tagged=0");
  await backend.close({ keep: false });
  network.close();
});
