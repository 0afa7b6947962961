import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type IptablesVariant,
  installedGuests,
  iptables,
  nftables,
  type RuleBackend,
  removeGuests,
  tablesOfGuest,
} from "../../lib/backends/index.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
import { BrokenProgram } from "./broken-program.ts";
import { ethernet, ipv4, TCP, tcp, UDP, udp } from "./frame.ts";
import { GUEST, HOST, OUTSIDE, sh, TAP } from "./network.ts";
import { assorted, pattern, planOf } from "./plan.ts";
import { ProgramInFront } from "./program-in-front.ts";
import { BRIDGE, TablesNetwork } from "./tables-network.ts";

// What the backend makes of the real iptables, of both variants, and of what others do to it.

const { signal } = new AbortController();
const ID = "vm 'of' \"1\"; \\ drop\n";
const VARIANTS: IptablesVariant[] = ["nft", "legacy"];
const keys = (patterns: readonly FlowPattern[]) => patterns.map(patternKey).sort();

describe.each(VARIANTS)("iptables-%s", (variant) => {
  let network: TablesNetwork;
  let opened: RuleBackend[] = [];
  beforeAll(() => {
    network = new TablesNetwork("routed");
  });
  afterAll(() => network?.close());
  afterEach(async () => {
    for (const backend of opened) await backend.close({ keep: false });
    opened = [];
  });

  async function open(id = ID): Promise<RuleBackend> {
    const backend = iptables({ variant });
    opened.push(backend);
    await backend.open({ id, bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
    return backend;
  }

  /** Without what policies count: the kernel sends packets of its own, such as router solicitations. */
  const save = () =>
    sh(`iptables-${variant}-save -t filter; ip6tables-${variant}-save -t filter`).replace(/^#.*\n| \[\d+:\d+\]$/gm, "");
  const chains = tablesOfGuest(ID).at(-1)!;
  const flow = ethernet(ipv4({ from: GUEST.v4, to: OUTSIDE.v4 }, TCP, tcp(1000, 22)));
  const other = ethernet(ipv4({ from: GUEST.v4, to: OUTSIDE.v4 }, UDP, udp(1000, 22)));
  const away = { address: OUTSIDE.v4 };
  const blocked = pattern({ remote: away });

  describe("what is held", () => {
    it("changes by what differs, an action and a place, too", async () => {
      const backend = await open();
      await backend.reconcile(planOf(assorted), { signal });
      const [first, second, ...rest] = assorted;
      const changed = [
        ...rest.slice(0, -3).reverse(),
        { ...second!, action: "drop" as const },
        pattern({ local: { port: 7 } }),
      ];
      const { added, removed } = await backend.reconcile(planOf(changed), { signal });
      expect([...added].sort()).toEqual(keys(changed.slice(-2)));
      expect([...removed].sort()).toEqual(keys([first!, second!, ...rest.slice(-3)]));
      const { patterns, problems } = await backend.inspect({ signal });
      expect([patterns.map(({ key }) => key).sort(), problems]).toEqual([keys(changed), []]);
      const chain = (of: readonly FlowPattern[]) =>
        of
          .filter(({ direction, protocol, family }) => `${direction}${protocol}${family}` === "outtcp4")
          .map(patternKey);
      expect(chain(patterns)).toEqual(chain(changed));
    });

    it("counts packets, also over changes around it and over the next agent", async () => {
      const backend = await open();
      const packets = async (of: RuleBackend) =>
        (await of.inspect({ signal })).patterns.find(({ key }) => key === patternKey(blocked))?.packets;
      await backend.reconcile(planOf([blocked]), { signal });
      expect(network.sent(flow, flow, other, flow)).toBe(1);
      expect(await packets(backend)).toBe(3);
      await backend.reconcile(planOf([pattern({ local: { port: 7 } }), blocked]), { signal });
      expect(await packets(backend)).toBe(3);
      await backend.close({ keep: true });
      const next = await open();
      expect(await next.reconcile(planOf([blocked]), { signal })).toMatchObject({
        added: [],
        unchanged: 1,
        repaired: false,
      });
      expect(network.sent(flow)).toBe(0);
      expect(await packets(next)).toBe(4);
    });

    it("is decided by the first pattern that matches", async () => {
      const backend = await open();
      const all = pattern({ local: { address: null, port: null }, remote: { address: null, ports: null } });
      const accepts = { ...blocked, action: "accept" as const };
      await backend.reconcile(planOf([accepts, all]), { signal });
      expect(network.sent(flow)).toBe(1);
      await backend.reconcile(planOf([all, accepts]), { signal });
      expect(network.sent(flow)).toBe(0);
      await backend.reconcile(planOf([{ ...blocked, action: "log" }, all]), { signal });
      expect(network.sent(flow)).toBe(1);
      expect(sh(`iptables-${variant}-save -c -t filter | grep LOG`)).toMatch(/^\[1:40\] .*"xfilter out \S+: "/m);
    });

    it("may be ten thousand patterns", async () => {
      const backend = await open();
      const many = Array.from({ length: 10_000 }, (_, index) =>
        pattern({ local: { port: 1024 + index }, remote: { address: `10.2.${index >> 8}.${index & 255}` } }),
      );
      await backend.reconcile(planOf([...many, blocked]), { signal });
      expect((await backend.inspect({ signal })).patterns).toHaveLength(10_001);
      expect(network.sent(flow, other)).toBe(1);
      const start = performance.now();
      const { removed, unchanged } = await backend.reconcile(planOf([...many.slice(1), blocked]), { signal });
      console.log(`${variant}: one of ten thousand takes ${Math.round(performance.now() - start)} ms`);
      expect([removed.length, unchanged]).toEqual([1, 10_000]);
    }, 120_000);

    it("ends with close, or stays, and theirs is as it was", async () => {
      sh(`iptables-${variant} -N theirs; iptables-${variant} -A FORWARD -s 192.0.2.1 -j theirs; iptables-${variant} -P INPUT ACCEPT
        ip6tables-${variant} -A OUTPUT -p tcp --dport 9 -m comment --comment "it's theirs" -j DROP`);
      const before = save();
      const backend = await open();
      await backend.reconcile(planOf(assorted), { signal });
      await backend.close({ keep: true });
      expect(save()).not.toBe(before);
      await expect(backend.inspect({ signal })).rejects.toMatchObject({ code: "CLOSED" });
      await (await open()).close({ keep: false });
      expect(save()).toBe(before);
      sh(`iptables-${variant} -F FORWARD; iptables-${variant} -X theirs; ip6tables-${variant} -F OUTPUT`);
    });

    it.runIf(variant === "nft")("has no effect any more where iptables cannot look for it, which is told", async () => {
      const backend = await open();
      await backend.reconcile(planOf([blocked]), { signal });
      sh("nft 'add chain ip filter odd; add rule ip filter odd ct state vmap { new : accept }'");
      const unseen = { code: "BACKEND_UNSUPPORTED" };
      await expect(backend.inspect({ signal })).rejects.toMatchObject(unseen);
      expect(network.sent(flow)).toBe(0);
      const ended = backend.close({ keep: false });
      await expect(ended).rejects.toMatchObject({ ...unseen, message: expect.stringContaining(chains) });
      expect(network.sent(flow)).toBe(1);
      await expect(removeGuests([{ table: chains }], { signal })).rejects.toMatchObject(unseen);
      sh("nft 'flush chain ip filter odd; delete chain ip filter odd'");
      await removeGuests([{ table: chains }], { signal });
      expect(save()).not.toContain("xfilter");
    });

    it("is listed with its guest, and removed", async () => {
      const backend = await open();
      await (await open("b")).reconcile(planOf([]), { signal });
      await backend.reconcile(planOf(assorted), { signal });
      const guests = await installedGuests({ signal });
      const [mine] = guests.filter(({ table }) => table === chains);
      expect(mine).toMatchObject({ guest: "vm 'of' \\x221\\x22; \\x5c drop\\x0a", interfaces: [TAP] });
      expect(mine!.patterns.map(({ key }) => key).sort()).toEqual(keys(assorted));
      await removeGuests([mine!], { signal });
      expect((await installedGuests({ signal })).map(({ guest }) => guest)).toEqual(["b"]);
      await expect(removeGuests([{ table: "FORWARD" }], { signal })).rejects.toThrow(TypeError);
    });
  });

  describe("what others do", () => {
    const tables = `iptables-${variant}`;
    const ways: [string, string][] = [
      ["flush all chains", `${tables} -F`],
      [
        "load rules of their own",
        `printf '*filter\\n:INPUT ACCEPT\\n:FORWARD ACCEPT\\n:OUTPUT ACCEPT\\nCOMMIT\\n' | ${tables}-restore`,
      ],
      ["flush IPv6", `ip6tables-${variant} -F`],
      ["insert a rule in front of ours", `${tables} -I FORWARD -j ACCEPT`],
      ["insert one between ours", `${tables} -I FORWARD 2 -m comment --comment theirs`],
      ["take out a jump", `${tables} -D FORWARD -i ${TAP} -j CHAINS_o`],
      ["take out a pattern", `${tables} -D CHAINS_ot 1`],
      [
        "change a pattern's place",
        `${tables}-save -t filter | grep -m1 "A CHAINS_ot" | sed "s/-A/-D/" | xargs ${tables}; ${tables} -A CHAINS_ot -s ${GUEST.v4}/32 -d ${HOST.v4}/32 -p tcp -m tcp --sport 1000 --dport 22 -j DROP`,
      ],
      ["put a rule into ours", `${tables} -I CHAINS_o -j RETURN`],
      ["put a rule among the patterns", `${tables} -I CHAINS_ot -m mark --mark 1 -j RETURN`],
    ];
    let backend: RuleBackend;
    beforeEach(async () => {
      backend = await open();
      await backend.reconcile(planOf([...assorted, blocked]), { signal });
    });
    afterEach(() =>
      sh(
        `${tables} -P FORWARD ACCEPT; ${tables} -D FORWARD -j ACCEPT 2> /dev/null || true; ${tables} -D FORWARD -m comment --comment theirs 2> /dev/null || true`,
      ),
    );

    it.each(ways)("is seen and put right when they %s", async (_, command) => {
      sh(command.replaceAll("CHAINS", chains));
      const found = await backend.inspect({ signal });
      expect(found.bites).toBe(false);
      expect(found.problems).not.toEqual([]);
      expect(await backend.reconcile(planOf([...assorted, blocked]), { signal })).toMatchObject({ repaired: true });
      expect(network.sent(flow, other)).toBe(1);
      const { patterns, problems } = await backend.inspect({ signal });
      expect([patterns.map(({ key }) => key).sort(), problems]).toEqual([keys([...assorted, blocked]), []]);
      expect(await backend.reconcile(planOf([...assorted, blocked]), { signal })).toMatchObject({ repaired: false });
    });

    it("behind ours does not matter, and has the last word on what is accepted", async () => {
      sh(`${tables} -A FORWARD -p tcp --dport 22 -j DROP`);
      await backend.reconcile(planOf([{ ...blocked, action: "accept" }]), { signal });
      expect(await backend.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
      expect(network.sent(flow, other)).toBe(1);
      sh(`${tables} -D FORWARD -p tcp --dport 22 -j DROP`);
    });

    it("is put right by a change that fails for it", async () => {
      sh(`${tables} -F; ${tables} -X`);
      const { added, removed, repaired } = await backend.reconcile(planOf([blocked, assorted[2]!]), { signal });
      // Counted against what was there, which was nothing of IPv4.
      expect([added, repaired]).toEqual([[blocked, assorted[2]!].map(patternKey), true]);
      expect([...removed].sort()).toEqual(keys(assorted.filter(({ family }) => family === 6)));
      expect(await backend.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
      expect(network.sent(flow, other)).toBe(1);
    });
  });

  it("two guests' chains stand side by side", async () => {
    const [first, second] = [await open("a"), await open("b")];
    await first.reconcile(planOf([pattern()]), { signal });
    await second.reconcile(planOf([blocked]), { signal });
    expect(await first.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
    expect(await second.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
    expect(network.sent(flow)).toBe(0);
  });

  it("nothing blocked gets by while flows come and go, while chains are made again, while an agent takes over", async () => {
    const backend = await open();
    await backend.reconcile(planOf([blocked]), { signal });
    const before = network.arrived("outside");
    const { sent } = await network.passedWhile("out", network.fromGuest(flow), async () => {
      for (let round = 0; round < 5; round++) {
        const more = pattern({ local: { port: 2000 + round }, action: "reject" });
        await backend.reconcile(planOf([more, blocked]), { signal });
        sh(`iptables-${variant} -A FORWARD -j ${chains}_o`);
        expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
        expect(await backend.reconcile(planOf([blocked]), { signal })).toMatchObject({ repaired: true });
        await (await open()).reconcile(planOf([...assorted, blocked]), { signal });
        await backend.inspect({ signal });
        await backend.reconcile(planOf([blocked]), { signal });
      }
    });
    expect(sent).toBeGreaterThan(1_000);
    expect(network.arrived("outside") - before).toBe(0);
  });

  describe("the guest's device", () => {
    it("made again under its name is released, and refused until it is named anew", async () => {
      const backend = await open();
      await backend.reconcile(planOf([blocked]), { signal });
      network.close();
      network = new TablesNetwork("routed");
      const { bites, problems } = await backend.inspect({ signal });
      expect([bites, problems[0]]).toEqual([false, expect.stringContaining("another device")]);
      const again = backend.reconcile(planOf([blocked]), { signal });
      await expect(again).rejects.toMatchObject({ code: "INTERFACE_CHANGED" });
      expect(network.sent(flow)).toBe(1);
      await backend.open({ id: ID, bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
      await backend.reconcile(planOf([blocked]), { signal });
      expect(network.sent(flow)).toBe(0);
    });

    it("has to be there, and to be named alone", async () => {
      const device = { name: "tap99", index: 99, mac: "02:00:00:00:00:01" };
      const opening = iptables({ variant }).open(
        { id: "1", bootId: "1", interfaces: [device] },
        { signal, leaseMs: null },
      );
      await expect(opening).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
      sh(`ip link add tap+ type veth peer name peer1`);
      const [index, mac] = sh("cat /sys/class/net/tap+/ifindex /sys/class/net/tap+/address").trim().split("\n");
      const plus = { name: "tap+", index: Number(index), mac: mac! };
      const all = iptables({ variant }).open({ id: "1", bootId: "1", interfaces: [plus] }, { signal, leaseMs: null });
      await expect(all).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
      sh("ip link del peer1");
    });
  });

  describe("the two IP versions", () => {
    let programs: ProgramInFront[] = [];
    const inFront = (verb: string, script: string) =>
      ["iptables", "ip6tables"].forEach((tables) => {
        programs.push(new ProgramInFront(`${tables}-${variant}-${verb}`, script));
      });
    afterEach(() => {
      for (const program of programs.reverse()) program.close();
      programs = [];
    });

    it("are changed one after the other: they may share a lock", async () => {
      const backend = await open();
      const folder = sh("mktemp -d").trim();
      inFront(
        "restore",
        `mkdir ${folder}/busy || touch ${folder}/both\n"$own" "$@"; ended=$?\nrmdir ${folder}/busy; exit $ended`,
      );
      await backend.reconcile(planOf(assorted), { signal });
      await backend.close({ keep: false });
      expect(sh(`ls ${folder}; rm -r ${folder}`)).toBe("");
      expect(save()).not.toContain("xfilter");
    });

    it("are made again each for itself where the other cannot be looked at, and it is told when both are", async () => {
      const backend = await open();
      await backend.reconcile(planOf(assorted), { signal });
      sh(`ip6tables-${variant} -F`);
      expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
      const broken = new BrokenProgram(`iptables-${variant}-restore`, "--counters");
      programs.push(broken);
      broken.break();
      const more = planOf([...assorted, blocked]);
      const ended = backend.reconcile(more, { signal });
      await expect(ended).rejects.toThrow("IPv6 was changed as planned, IPv4 was not");
      programs.push(new ProgramInFront(`iptables-${variant}-save`, "exit 1"));
      await expect(backend.reconcile(planOf([blocked]), { signal })).rejects.toThrow("IPv6 was changed as planned");
      expect(sh(`ip6tables-${variant}-save`)).not.toContain(" -s 2001:db8");
      programs.pop()!.close();
      expect(await backend.reconcile(more, { signal })).toMatchObject({ repaired: true });
      expect(await backend.reconcile(more, { signal })).toMatchObject({ repaired: false });
    });
  });

  it("has no leases", async () => {
    const interfaces = [await network.device()];
    const opening = iptables({ variant }).open({ id: "1", bootId: "1", interfaces }, { signal, leaseMs: 1000 });
    await expect(opening).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
    expect(nftables().capabilities.leases && !iptables().capabilities.leases).toBe(true);
  });
});

describe("a bridge that iptables does not see", () => {
  let network: TablesNetwork;
  beforeAll(() => {
    network = new TablesNetwork("filtered");
  });
  afterAll(() => network?.close());
  const call = (tables: string, value: 0 | 1) => sh(`sysctl -qw net.bridge.bridge-nf-call-${tables}=${value}`);
  const openHere = async () => {
    const backend = iptables();
    await backend.open({ id: "1", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
    return backend;
  };

  it.each(["iptables", "ip6tables"])("is refused, and %s not switched on", async (tables) => {
    call(tables, 0);
    const opening = openHere();
    await expect(opening).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED", advice: /bridge-nf-call/ });
    await expect(opening).rejects.toThrow(`bridge-nf-call-${tables} is 0`);
    expect(sh(`sysctl -n net.bridge.bridge-nf-call-${tables}`)).toBe("0\n");
    // One bridge alone may be shown, too.
    sh(`echo 1 > /sys/class/net/${BRIDGE}/bridge/nf_call_${tables}`);
    await (await openHere()).close({ keep: false });
    sh(`echo 0 > /sys/class/net/${BRIDGE}/bridge/nf_call_${tables}`);
    call(tables, 1);
  });

  it("any more, is noticed", async () => {
    const backend = await openHere();
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true });
    call("iptables", 0);
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems[0]]).toEqual([false, expect.stringContaining("bridge-nf-call-iptables is 0")]);
    await expect(backend.reconcile(planOf([]), { signal })).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
    call("iptables", 1);
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
    await backend.close({ keep: false });
  });

  it("has the guest's device no more, and other rules catch it", async () => {
    const backend = await openHere();
    await backend.reconcile(planOf([pattern()]), { signal });
    sh(`ip link set ${TAP} nomaster`);
    expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(sh("iptables-save")).not.toContain("physdev");
    sh(`ip link set ${TAP} master ${BRIDGE}`);
    expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(sh("iptables-save")).toContain("physdev");
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true });
    await backend.close({ keep: false });
  });

  it("has the guest's device no more, and what failed to tell so is made the next time", async () => {
    const backend = await openHere();
    await backend.reconcile(planOf([pattern()]), { signal });
    const broken = new BrokenProgram("iptables-restore", "--counters");
    sh(`ip link set ${TAP} nomaster`);
    broken.break(1);
    await expect(backend.reconcile(planOf([pattern()]), { signal })).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    broken.close();
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(sh("iptables-save")).not.toContain("physdev");
    sh(`ip link set ${TAP} master ${BRIDGE}`);
    await backend.close({ keep: false });
  });

  it("and on which the host gets an address has rules that do not catch what enters its guests, which is noticed", async () => {
    const backend = await openHere();
    const entering = planOf([pattern({ direction: "in" })]);
    await backend.reconcile(entering, { signal });
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true });
    sh(`ip addr add 10.1.0.9/24 dev ${BRIDGE}`);
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems]).toEqual([false, [expect.stringContaining("cannot be told from")]]);
    sh(`ip addr flush dev ${BRIDGE}`);
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true });
    await backend.close({ keep: false });
  });

  it.each([
    ["an address", ""],
    ["an address with a label", `label ${BRIDGE}:1`],
  ])("and on which the host has %s is refused for what enters its guests", async (_, label) => {
    sh(`ip addr add 10.1.0.9/24 dev ${BRIDGE} ${label}`);
    const backend = await openHere();
    const { actions, why } = backend.capabilities;
    expect([actions.in, why?.in]).toMatchObject([[], { code: "BACKEND_UNSUPPORTED" }]);
    await backend.reconcile(planOf([pattern()]), { signal });
    const entering = backend.reconcile(planOf([pattern({ direction: "in" })]), { signal });
    await expect(entering).rejects.toThrow(BRIDGE);
    await backend.close({ keep: false });
    sh(`ip addr flush dev ${BRIDGE}`);
  });
});
