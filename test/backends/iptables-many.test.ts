import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { iptables, type RuleBackend } from "../../lib/backends/index.ts";
import { decidingPattern } from "../../lib/rules/packet.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
import { ethernet, ipv4, TCP, tcp } from "./frame.ts";
import { GUEST, OUTSIDE, sh } from "./network.ts";
import { pattern, planOf } from "./plan.ts";
import { TablesNetwork } from "./tables-network.ts";

// Many flows of one guest, which iptables' chains part by ports and addresses: with the real iptables, and packets.

const { signal } = new AbortController();

const far = (n: number) => `10.2.0.${n}`;
const flow = (localPort: number, remotePort: number, change: Partial<FlowPattern> = {}) =>
  pattern({ ...change, local: { port: localPort }, remote: { address: OUTSIDE.v4, ports: [remotePort, remotePort] } });
const anyFlow = fc
  .record({
    local: fc.option(fc.integer({ min: 1, max: 40 }), { freq: 30 }),
    remote: fc.option(fc.integer({ min: 1, max: 40 }), { freq: 30 }),
    address: fc.option(fc.integer({ min: 2, max: 9 }).map(far), { freq: 30 }),
    action: fc.constantFrom("drop" as const, "accept" as const),
  })
  .map(({ local, remote, address, action }) =>
    pattern({ action, local: { port: local }, remote: { address, ports: remote === null ? null : [remote, remote] } }),
  );
const anyPlan = fc
  .uniqueArray(anyFlow, { selector: (given) => patternKey({ ...given, action: "drop" }), maxLength: 200, size: "max" })
  .map(planOf);

describe.each(["nft", "legacy"] as const)("iptables-%s, many flows", (variant) => {
  let network: TablesNetwork;
  let backend: RuleBackend;
  beforeAll(() => {
    network = new TablesNetwork("routed");
  });
  afterAll(() => network?.close());
  const open = async () => {
    backend = iptables({ variant });
    await backend.open({ id: "many", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
  };
  beforeEach(open);
  afterEach(() => backend.close({ keep: false }));

  const put = (...patterns: FlowPattern[]) => backend.reconcile(planOf(patterns), { signal });
  const frame = (from: number, to: number) => ethernet(ipv4({ from: GUEST.v4, to: OUTSIDE.v4 }, TCP, tcp(from, to)));
  const chains = () => sh(`iptables-${variant}-save -t filter`).match(/^:xfilter_\S+/gm)!.length;

  it("are told as they were given, whatever was held before, and twice is once", async () => {
    await fc.assert(
      fc.asyncProperty(anyPlan, anyPlan, async (before, plan) => {
        await backend.reconcile(before, { signal });
        await backend.reconcile(plan, { signal });
        const keys = plan.patterns.map(({ key }) => key);
        const { patterns, problems } = await backend.inspect({ signal });
        expect([problems, patterns.map(({ key }) => key).sort()]).toEqual([[], keys.toSorted()]);
        const again = await backend.reconcile(plan, { signal });
        expect(again).toEqual({ added: [], removed: [], unchanged: keys.length, repaired: false });
        for (let port = 1; port <= 40; port += 3) {
          const packet = {
            ...({ direction: "out", protocol: "tcp" } as const),
            local: { address: GUEST.v4, port },
            remote: { address: OUTSIDE.v4, port: 41 - port },
          };
          const decided = decidingPattern(plan.patterns, packet);
          expect(decidingPattern(patterns, packet)?.key).toBe(decided?.key);
          expect(network.sent(frame(port, 41 - port))).toBe(decided?.action === "drop" ? 0 : 1);
        }
      }),
      { numRuns: 8 },
    );
  }, 120_000);

  it("may differ in whatever digit a guest's user likes", async () => {
    const digits = [...Buffer.from("20010db8000100000000000000000000")].map((byte) => String.fromCharCode(byte));
    const address = (at: number, digit: string) =>
      digits
        .with(at, digit)
        .join("")
        .replace(/(.{4})(?!$)/g, "$1:");
    // At each place enough to be worth a chain.
    const places = digits.flatMap((own, at) =>
      [..."0123456789abcdef"].filter((digit) => digit !== own).map((digit) => [at, digit] as const),
    );
    const patterns = places.map(([at, digit]) =>
      pattern({ family: 6, protocol: "udplite", remote: { address: address(at, digit), ports: [53, 53] } }),
    );
    const own = places.map(([at, digit]) =>
      pattern({
        family: 6,
        protocol: "udp",
        local: { address: address(at, digit) },
        remote: { address: null, ports: null },
      }),
    );
    await put(...patterns, ...own);
    const { patterns: held, problems } = await backend.inspect({ signal });
    expect([problems, held.length]).toEqual([[], 2 * places.length]);
  });

  it("leave no chain behind when they end", async () => {
    await put();
    const none = chains();
    await put(...Array.from({ length: 500 }, (_, n) => flow(n, 22)));
    expect(chains()).toBeGreaterThan(none);
    await put();
    expect(chains()).toBe(none);
  });

  it("keep what was counted, also when their chain is parted, and when the next agent comes", async () => {
    const packets = async () =>
      (await backend.inspect({ signal })).patterns.find(({ key }) => key === patternKey(flow(1, 22)))?.packets;
    const few = Array.from({ length: 10 }, (_, n) => flow(n, 22));
    await put(...few);
    expect(network.sent(frame(1, 22), frame(1, 22))).toBe(0);
    expect(await packets()).toBe(2);
    await put(...few, ...Array.from({ length: 90 }, (_, n) => flow(100 * n + 50, 22)));
    expect(network.sent(frame(1, 22))).toBe(0);
    expect(await packets()).toBe(3);
    await backend.close({ keep: true });
    await open();
    await put(...few);
    expect(network.sent(frame(1, 22))).toBe(0);
    expect(await packets()).toBe(4);
  });

  it("keep what was counted in chains that end, of what is in others, too", async () => {
    const wide = pattern({ local: { address: null, port: null }, remote: { address: OUTSIDE.v4, ports: [22, 22] } });
    const many = Array.from({ length: 200 }, (_, n) => flow(300 * n, 80));
    const packets = async () =>
      (await backend.inspect({ signal })).patterns.find(({ key }) => key === patternKey(wide))?.packets;
    await put(...many, wide);
    expect(network.sent(frame(300, 22), frame(600, 22), frame(65_000, 22))).toBe(0);
    expect(await packets()).toBe(3);
    await put(...many.slice(0, 5), wide);
    expect(network.sent(frame(300, 22))).toBe(0);
    expect(await packets()).toBe(4);
  });

  it("are put right where somebody took a way out, or put one in", async () => {
    const many = Array.from({ length: 100 }, (_, n) => flow(n, 22));
    await put(...many);
    const way = sh(`iptables-${variant}-save -t filter | grep -m1 "_ot .* -g "`).trim();
    for (const theirs of [way.replace("-A", "-D"), way.replace(/-A (\S+)/, "-I $1 1").replace(/ -m tcp.* -g/, " -g")]) {
      sh(`iptables-${variant} ${theirs}`);
      expect((await backend.inspect({ signal })).bites).toBe(false);
      expect(await put(...many)).toMatchObject({ added: [], repaired: true });
      expect(network.sent(frame(1, 22), frame(99, 22), frame(1, 23))).toBe(1);
    }
  });
});
