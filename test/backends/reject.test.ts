import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { AD, Q } from "./disguises.ts";
import { ethernet, ipv4, ipv6, sentTo, sound, TCP, tcp, UDP, udp } from "./frame.ts";
import { GuardedGuest } from "./guarded-guest.ts";
import { GUEST, HOST, OUTSIDE, sh, TAP } from "./network.ts";
import { pattern } from "./plan.ts";

// What the guest and whoever it talks to see of a flow that is rejected.

const PORT = 2222;
const versions = [
  [4, "v4"],
  [6, "v6"],
] as const;

describe.each([false, true])("reject, on a kernel that is old: %s", (old) => {
  let guest: GuardedGuest;

  beforeAll(async () => {
    guest = await GuardedGuest.start({ way: "routed", old });
    const { guest: inside, outside } = guest.network;
    inside.sh(`ip route add default via ${HOST.v4}; ip -6 route add default via ${HOST.v6}`);
    outside!.sh(`ip route add ${GUEST.v4} via 10.2.0.1; ip -6 route add ${GUEST.v6} via 2001:db8:2::1`);
    const server = outside!.spawn(process.execPath, "-e", SERVER);
    await once(server.stdout!, "data");
    watch();
  });
  afterAll(() => guest?.close());
  beforeEach(() => guest.force());

  /** Counts what the peer hears of the guest, and what the guest is answered. */
  function watch(): void {
    const chain = (...rules: string[]) =>
      `table netdev heard { chain c { type filter hook ingress device eth0 priority 0; ${rules.join("; ")}; }; }`;
    const ends = [`ip saddr ${GUEST.v4}`, `ip6 saddr ${GUEST.v6}`];
    const flows = ends.flatMap((end) => [`${end} tcp dport ${PORT} counter`, `${end} udp dport ${PORT} counter`]);
    guest.network.outside!.sh(`nft "add ${chain(...flows)}"`);
    const answers = [
      "tcp flags & rst == rst",
      "icmp type destination-unreachable",
      "icmpv6 type destination-unreachable",
    ];
    guest.network.guest.sh(`nft "add ${chain(...answers.map((answer) => `${answer} counter`))}"`);
  }

  const heard = (where: "guest" | "outside") =>
    [...guest.network[where]!.sh("nft list table netdev heard").matchAll(/packets (\d+)/g)].reduce(
      (sum, [, count]) => sum + Number(count),
      0,
    );

  /** Runs a program in the guest: the lines that it prints. */
  function run(program: string) {
    const child = guest.network.guest.spawn(process.execPath, "-e", program);
    return createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  const towards = (family: 4 | 6, change: Partial<FlowPattern> = {}) =>
    pattern({
      family,
      action: "reject",
      ...change,
      remote: { address: OUTSIDE[family === 4 ? "v4" : "v6"], ports: [PORT, PORT] },
    });

  it.each(versions)("tells TCP over IPv%s at once, and the peer nothing", async (family, at) => {
    const dial = connecting(OUTSIDE[at], "s.resetAndDestroy()");
    const first = run(dial);
    expect([(await first.next()).value, (await first.next()).done]).toEqual(["connected", true]);
    await guest.force(towards(family));
    const before = [heard("outside"), heard("guest")];
    expect((await run(dial).next()).value).toBe("ECONNREFUSED");
    expect([heard("outside"), heard("guest")]).toEqual([before[0], before[1]! + 1]);
  });

  it.each(versions)(
    "ends a connection over IPv%s that was there, and the peer hears no more of it",
    async (family, at) => {
      const said = run(connecting(OUTSIDE[at], "setInterval(() => s.write('x'), 20)"));
      await said.next();
      await guest.force(towards(family), towards(family, { direction: "in", action: "drop" }));
      const before = heard("outside");
      expect((await said.next()).value).toBe("ECONNRESET");
      expect(heard("outside")).toBe(before);
    },
  );

  it.each(versions)("tells UDP over IPv%s that nobody is there, and the peer nothing", async (family, at) => {
    const ask = `const s = require("dgram").createSocket("udp${family}"); s.bind(1000);
      s.on("error", (e) => { console.log(e.code); s.close(); });
      s.connect(${PORT}, "${OUTSIDE[at]}", () => s.send("x"));`;
    await guest.force(
      towards(family, { protocol: "udp" }),
      towards(family, { protocol: "udp", direction: "in", action: "drop" }),
    );
    const before = [heard("outside"), heard("guest")];
    expect((await run(ask).next()).value).toBe("ECONNREFUSED");
    expect([heard("outside"), heard("guest")]).toEqual([before[0], before[1]! + 1]);
  });

  // The answer would have no tag.
  it.each([
    ["no tag", [], 4],
    ["a tag of 802.1Q", [Q], 0],
    ["a tag of 802.1ad", [AD], 0],
    ["two tags", [AD, Q], 0],
  ])("answers what has %s with its own kind, or not at all, and nothing comes past", async (_, tags, answers) => {
    const to = sh(`cat /sys/class/net/${TAP}/address`).trim();
    const [four, six] = [
      { from: GUEST.v4, to: OUTSIDE.v4 },
      { from: GUEST.v6, to: OUTSIDE.v6 },
    ];
    const packets = [
      ipv4(four, TCP, sound(four, TCP, tcp(1000, PORT))),
      ipv4(four, UDP, sound(four, UDP, udp(1000, PORT))),
      ipv6(six, TCP, sound(six, TCP, tcp(1000, PORT))),
      ipv6(six, UDP, sound(six, UDP, udp(1000, PORT))),
    ];
    await guest.force(
      ...([4, 6] as const).flatMap((family) => [towards(family), towards(family, { protocol: "udp" })]),
    );
    const before = heard("guest");
    expect(guest.network.passed("out", ...packets.map((packet) => sentTo(to, ethernet(packet, tags))))).toBe(0);
    expect(heard("guest") - before).toBe(answers);
  });
});

const SERVER = `require("net").createServer((s) => s.on("error", () => {})).listen(${PORT}, "::", () => console.log("listens"));`;

/** Says "connected", and what error came then. */
const connecting = (host: string, then: string) => `
  const s = require("net").connect({ port: ${PORT}, localPort: 1000, host: "${host}" });
  s.on("error", (e) => { console.log(e.code); process.exit(); });
  s.on("connect", () => { console.log("connected"); ${then}; });`;
