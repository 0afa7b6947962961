import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { AD, disguised, Q, tagged } from "./disguises.ts";
import { ethernet, FRAGMENT, fragment6, ipv4, ipv6, TCP, tcp, UDP, u8, u16, udp } from "./frame.ts";
import { GuardedGuest } from "./guarded-guest.ts";
import { GUEST, HOST, OUTSIDE, sh, type Way } from "./network.ts";
import { type Change, pattern } from "./plan.ts";

// What enters the guest, by each way that it may take to its device, where the device has a hook for it and where it has none.

const ways: [Way, old: boolean][] = [
  ["straight", false],
  ["bridged", false],
  ["filtered", false],
  ["host", false],
  ["routed", false],
  ["bridged", true],
  ["filtered", true],
  ["host", true],
  ["routed", true],
];

describe.each(ways)("%s, on a kernel that is old: %s", (way, old) => {
  let guest: GuardedGuest;
  beforeAll(async () => {
    guest = await GuardedGuest.start({ way, old });
  });
  afterAll(() => guest?.close());
  const families = old ? ["netdev", "bridge", "inet"] : ["netdev"];

  const peer = way === "routed" ? OUTSIDE : HOST;
  const in4 = { from: peer.v4, to: GUEST.v4 };
  const in6 = { from: peer.v6, to: GUEST.v6 };
  const entering = (change: Change = {}): FlowPattern =>
    pattern({
      direction: "in",
      ...change,
      remote: { address: peer[change.family === 6 ? "v6" : "v4"], ...change.remote },
    });
  const passed = (...frames: Buffer[]) => guest.network.passed("in", ...frames);
  const frames = way !== "routed";

  beforeEach(() => guest.force());

  it("a flow is dropped, and nothing else", async () => {
    const flows = [
      ethernet(ipv4(in4, TCP, tcp(22, 1000))),
      ethernet(ipv6(in6, TCP, tcp(22, 1000))),
      ethernet(ipv4(in4, UDP, udp(22, 1000))),
    ];
    const others = [
      ethernet(ipv4(in4, TCP, tcp(23, 1000))),
      ethernet(ipv4(in4, TCP, tcp(22, 1001))),
      ethernet(ipv4({ ...in4, to: "10.1.0.77" }, TCP, tcp(22, 1000))),
      ethernet(ipv6(in6, UDP, udp(22, 1000))),
    ];
    guest.network.neighbour("10.1.0.77", "02:00:00:00:00:77");
    expect(passed(...flows)).toBe(3);
    await guest.force(entering(), entering({ family: 6 }), entering({ protocol: "udp" }));
    expect(passed(...flows)).toBe(0);
    expect(sh("nft list tables").match(/\w+(?= xfilter_)/g)).toEqual(families);
    expect(passed(...others)).toBe(others.length);
    const out = ethernet(ipv4({ from: GUEST.v4, to: peer.v4 }, TCP, tcp(1000, 22)));
    expect(guest.network.passed("out", out)).toBe(1);
    const { patterns, bites } = await guest.backend.inspect({ signal: new AbortController().signal });
    expect([bites, patterns.map(({ packets }) => packets)]).toEqual([true, [1, 1, 1]]);
  });

  it("an end is dropped for what the rule names", async () => {
    const local = { address: null, port: 80 };
    await guest.force(
      entering({ local, remote: { ports: [100, 200] }, action: "log" }),
      entering({ local, remote: { address: null, ports: [150, 300] } }),
      entering({ local: { address: null, port: null }, remote: { address: null, ports: [7, 7] } }),
    );
    const passes = (from: number, to = 80) => passed(ethernet(ipv4(in4, TCP, tcp(from, to))));
    expect([passes(99), passes(150), passes(201), passes(7), passes(7, 1)]).toEqual([1, 1, 0, 0, 0]);
  });

  // A router takes no tagged frames.
  it.each([...(frames ? tagged(in4, in6, 22, 1000) : []), ...disguised(in4, in6, 22, 1000)])(
    "%s does not hide a flow",
    async (_, frame) => {
      expect(passed(frame)).toBe(1);
      await guest.force(entering(), entering({ family: 6 }));
      expect(passed(frame)).toBe(0);
    },
  );

  const harmless: [name: string, frame: Buffer][] = [
    ["a later fragment", ethernet(ipv4(in4, TCP, u16(22, 1000, 0, 0), { fragment: [1, false] }))],
    [
      "a later fragment of IPv6",
      ethernet(ipv6(in6, FRAGMENT, Buffer.concat([fragment6(TCP, 1, false), tcp(22, 1000)]))),
    ],
    ["an echo", ethernet(ipv6(in6, 58, u8(128, 0, 0, 0, 0, 1, 0, 1)))],
    ["DHCP", ethernet(ipv4(in4, UDP, udp(67, 68)))],
    ["DHCPv6", ethernet(ipv6(in6, UDP, udp(547, 546)))],
  ];
  const local: [name: string, frame: Buffer][] = [
    ["ARP", ethernet(Buffer.alloc(28), [], 0x0806)],
    ["ARP behind two tags", ethernet(Buffer.alloc(28), [AD, Q], 0x0806)],
    ["neighbour discovery", ethernet(ipv6(in6, 58, u8(135, 0, 0, 0, 0, 0, 0, 0)))],
  ];
  it.each([...harmless, ...(frames ? local : [])])("%s passes", async (_, frame) => {
    const all = { local: { address: null, port: null }, remote: { address: null, ports: [1, 1000] as const } };
    await guest.force(
      entering(),
      entering({ family: 6 }),
      ...[4 as const, 6 as const].map((family) => entering({ family, protocol: "udp", ...all })),
    );
    expect(passed(frame)).toBe(1);
  });

  it("nothing comes past while the tables are made again", async () => {
    const flow = ethernet(ipv4(in4, TCP, tcp(22, 1000)));
    const { signal } = new AbortController();
    await guest.force(entering());
    const { sent, passed } = await guest.network.passedWhile("in", flow, async () => {
      for (let round = 0; round < 5; round++) {
        await guest.force(entering(), entering({ local: { port: 2000 + round } }));
        sh("nft insert rule $(nft list tables | grep -m1 xfilter_ | cut -d' ' -f2-) out accept");
        expect(await guest.backend.inspect({ signal })).toMatchObject({ bites: false });
        await guest.force(entering());
      }
    });
    expect(sent).toBeGreaterThan(1_000);
    expect(passed).toBe(0);
  });
});
