import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { AD, disguised, harmlessFragments, Q, tagged } from "./disguises.ts";
import { ethernet, ipv4, ipv6, TCP, tcp, UDP, u8, u16, udp } from "./frame.ts";
import { GuardedGuest } from "./guarded-guest.ts";
import { GUEST, type GuestNetwork, HOST } from "./network.ts";
import { type Change, pattern } from "./plan.ts";

// What the rules do to packets, which a guest has made as it likes.

let guest: GuardedGuest;
let network: GuestNetwork;

beforeAll(async () => {
  guest = await GuardedGuest.start();
  network = guest.network;
});

afterAll(() => guest?.close());

const force = (...patterns: FlowPattern[]) => guest.force(...patterns);
beforeEach(() => force());

const out4 = { from: GUEST.v4, to: HOST.v4 };
const out6 = { from: GUEST.v6, to: HOST.v6 };
const in4 = { from: HOST.v4, to: GUEST.v4 };
const in6 = { from: HOST.v6, to: GUEST.v6 };
const elsewhere = "10.1.0.77";

describe("a flow", () => {
  const rows: [string, Change, Buffer, others: Buffer[]][] = [
    [
      "of TCP over IPv4",
      {},
      ipv4(out4, TCP, tcp(1000, 22)),
      [
        ipv4(out4, TCP, tcp(1000, 23)),
        ipv4(out4, TCP, tcp(1001, 22)),
        ipv4(out4, UDP, udp(1000, 22)),
        ipv4({ ...out4, to: elsewhere }, TCP, tcp(1000, 22)),
        ipv4({ ...out4, from: elsewhere }, TCP, tcp(1000, 22)),
        ipv6(out6, TCP, tcp(1000, 22)),
      ],
    ],
    ["of UDP over IPv4", { protocol: "udp" }, ipv4(out4, UDP, udp(1000, 22)), [ipv4(out4, TCP, tcp(1000, 22))]],
    ["of UDP-Lite", { protocol: "udplite" }, ipv4(out4, 136, udp(1000, 22)), [ipv4(out4, UDP, udp(1000, 22))]],
    [
      "of TCP over IPv6",
      { family: 6 },
      ipv6(out6, TCP, tcp(1000, 22)),
      [
        ipv6(out6, TCP, tcp(1000, 23)),
        ipv6({ ...out6, to: "2001:db8:1::77" }, TCP, tcp(1000, 22)),
        ipv4(out4, TCP, tcp(1000, 22)),
      ],
    ],
    ["of UDP over IPv6", { family: 6, protocol: "udp" }, ipv6(out6, UDP, udp(1000, 22)), []],
  ];
  it.each(rows)("%s is dropped, and nothing else", async (_, change, packet, others) => {
    const frames = others.map((other) => ethernet(other));
    expect(network.passed("out", ethernet(packet))).toBe(1);
    await force(pattern(change));
    expect(network.passed("out", ethernet(packet))).toBe(0);
    expect(network.passed("out", ...frames)).toBe(frames.length);
    await force();
    expect(network.passed("out", ethernet(packet))).toBe(1);
  });

  it("into the guest is dropped there, and the same out of it is not", async () => {
    await force(pattern({ direction: "in" }), pattern({ direction: "in", family: 6 }));
    expect(network.passed("in", ethernet(ipv4(in4, TCP, tcp(22, 1000))), ethernet(ipv6(in6, TCP, tcp(22, 1000))))).toBe(
      0,
    );
    expect(network.passed("in", ethernet(ipv4(in4, TCP, tcp(23, 1000))), ethernet(ipv6(in6, UDP, udp(22, 1000))))).toBe(
      2,
    );
    expect(network.passed("out", ethernet(ipv4(out4, TCP, tcp(1000, 22))))).toBe(1);
  });
});

describe("an end", () => {
  it("is blocked for the networks and ports that the rule names", async () => {
    const local = { address: GUEST.v4, port: 53 };
    await force(
      pattern({ protocol: "udp", local, remote: { address: "10.1.0.64/28", ports: null }, action: "accept" }),
      pattern({ protocol: "udp", local, remote: { address: "10.1.0.0/24", ports: [100, 200] } }),
    );
    const passes = (to: string, port: number) =>
      network.passed("out", ethernet(ipv4({ ...out4, to }, UDP, udp(53, port))));
    expect([passes(HOST.v4, 99), passes(HOST.v4, 100), passes(HOST.v4, 200), passes(HOST.v4, 201)]).toEqual([
      1, 0, 0, 1,
    ]);
    expect([passes("10.1.0.77", 150), passes("10.1.0.80", 150), passes("10.1.1.1", 150)]).toEqual([1, 0, 1]);
  });

  it("that is let go for a network is not blocked for an address of it behind that in the plan", async () => {
    const local = { address: GUEST.v4, port: 53 };
    await force(
      pattern({ protocol: "udp", local, remote: { address: "10.1.0.0/24", ports: null }, action: "accept" }),
      pattern({ protocol: "udp", local, remote: { address: HOST.v4, ports: [100, 100] } }),
      pattern({ protocol: "udp", local, remote: { address: "10.1.1.1", ports: [100, 100] } }),
    );
    const passes = (to: string) => network.passed("out", ethernet(ipv4({ ...out4, to }, UDP, udp(53, 100))));
    expect([passes(HOST.v4), passes("10.1.1.1")]).toEqual([1, 0]);
  });

  it("is the exact one first, then the address's, then the port's, then what names no port", async () => {
    const any = { address: null, ports: null };
    await force(
      pattern({ local: { port: 53 }, remote: { ports: [80, 80] }, action: "accept" }),
      pattern({ local: { port: 53 }, remote: { address: null, ports: [80, 90] } }),
      pattern({ local: { address: null, port: 53 }, remote: { address: null, ports: [90, 95] }, action: "accept" }),
      pattern({ local: { address: null, port: 53 }, remote: { address: null, ports: [96, 96] } }),
      pattern({ local: { address: null, port: null }, remote: any }),
      pattern({ local: { address: null, port: null }, remote: any, direction: "in", protocol: "udp" }),
    );
    const passes = (port: number, from = 53) => network.passed("out", ethernet(ipv4(out4, TCP, tcp(from, port))));
    expect([passes(80), passes(81), passes(90), passes(91), passes(96), passes(97)]).toEqual([1, 0, 0, 1, 0, 0]);
    expect(passes(80, 54)).toBe(0);
    expect(network.passed("out", ethernet(ipv4(out4, UDP, udp(53, 80))))).toBe(1);
  });

  it("of a network of the guest's addresses is blocked for these", async () => {
    const any = { address: null, ports: null };
    await force(pattern({ family: 6, local: { address: "2001:db8:1::/126", port: 7 }, remote: any, direction: "in" }));
    const passes = (to: string) => network.passed("in", ethernet(ipv6({ ...in6, to }, TCP, tcp(9, 7))));
    expect([passes("2001:db8:1::3"), passes("2001:db8:1::4")]).toEqual([0, 1]);
  });

  it("that is logged or accepted loses nothing, whatever follows", async () => {
    const wide = { remote: { address: null, ports: null } };
    await force(
      pattern({ action: "log" }),
      pattern({ family: 6, action: "accept" }),
      pattern(wide),
      pattern({ ...wide, family: 6 }),
    );
    expect(
      network.passed("out", ethernet(ipv4(out4, TCP, tcp(1000, 22))), ethernet(ipv6(out6, TCP, tcp(1000, 22)))),
    ).toBe(2);
    expect(
      network.passed("out", ethernet(ipv4(out4, TCP, tcp(1000, 23))), ethernet(ipv6(out6, TCP, tcp(1000, 23)))),
    ).toBe(0);
  });
});

describe("what could slip by", () => {
  beforeEach(() =>
    force(pattern(), pattern({ family: 6 }), pattern({ direction: "in" }), pattern({ family: 6, direction: "in" })),
  );
  const blocked4 = ipv4(out4, TCP, tcp(1000, 22));
  const blocked6 = ipv6(out6, TCP, tcp(1000, 22));

  it.each([...tagged(out4, out6, 1000, 22), ...disguised(out4, out6, 1000, 22)])(
    "%s does not hide a flow",
    (_, frame) => expect(network.passed("out", frame)).toBe(0),
  );

  it("two tags do not hide a flow into the guest, nor does one that the host left in the frame", () => {
    const frames = [[Q], [AD, Q], [AD, Q, Q]].map((tags) => ethernet(ipv4(in4, TCP, tcp(22, 1000)), tags));
    expect(network.passed("in", ...frames)).toBe(0);
  });

  it.each([
    ["a tagged flow that nobody blocks", ethernet(ipv4(out4, TCP, tcp(1000, 23)), [Q])],
    ["a later fragment", ethernet(ipv4(out4, TCP, u16(1000, 22, 0, 0), { fragment: [1, false] }))],
    ...harmlessFragments(out6, 1000, 22),
    ["ARP", ethernet(Buffer.alloc(28), [], 0x0806)],
    ["ARP behind two tags", ethernet(Buffer.alloc(28), [AD, Q], 0x0806)],
    ["neighbour discovery", ethernet(ipv6(out6, 58, u8(135, 0, 0, 0, 0, 0, 0, 0)))],
    ["neighbour discovery behind two tags", ethernet(ipv6(out6, 58, u8(135, 0, 0, 0, 0, 0, 0, 0)), [AD, Q])],
    ["DHCP behind two tags", ethernet(ipv4(out4, UDP, udp(68, 67)), [AD, Q])],
    ["DHCPv6 behind two tags", ethernet(ipv6(out6, UDP, udp(546, 547)), [AD, Q])],
  ])("%s passes", (_, frame) => expect(network.passed("out", frame)).toBe(1));

  it("behind two tags, passes while nothing is blocked", async () => {
    await force(pattern({ action: "accept" }));
    expect(network.passed("out", ethernet(blocked4, [AD, Q]), ethernet(blocked6, [AD, Q, Q]))).toBe(2);
  });

  it("DHCP is never blocked", async () => {
    const any = { address: null, ports: null };
    const ends = (direction: "in" | "out") => [
      pattern({ protocol: "udp", direction, local: { address: null, port: 68 }, remote: any }),
      pattern({ protocol: "udp", direction, family: 6, local: { address: null, port: null }, remote: any }),
    ];
    await force(...ends("out"), ...ends("in"));
    const ask = { from: "0.0.0.0", to: "255.255.255.255" };
    expect(network.passed("out", ethernet(ipv4(ask, UDP, udp(68, 67))), ethernet(ipv6(out6, UDP, udp(546, 547))))).toBe(
      2,
    );
    expect(network.passed("in", ethernet(ipv4(in4, UDP, udp(67, 68))), ethernet(ipv6(in6, UDP, udp(547, 546))))).toBe(
      2,
    );
    expect(network.passed("out", ethernet(ipv4(ask, UDP, udp(68, 53))), ethernet(ipv6(out6, UDP, udp(546, 53))))).toBe(
      0,
    );
  });
});
