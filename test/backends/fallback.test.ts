import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { installedGuests, nftables, type RuleBackend, removeGuests } from "../../lib/backends/index.ts";
import { requireCapable } from "../../lib/filter/capabilities.ts";
import { parseRule } from "../../lib/rules/index.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
import { planOf } from "../../lib/testing/plan.ts";
import { ethernet, ipv4, TCP, tcp } from "./frame.ts";
import { GUEST, GuestNetwork, HOST, sh, TAP } from "./network.ts";
import { OldKernel } from "./old-kernel.ts";
import { assorted, pattern } from "./plan.ts";

// A host whose kernel has no hook for what enters a guest: its rules lie in tables of three families. What they do to packets is
// told by entering.test.ts.

const { signal } = new AbortController();
const entering = pattern({ direction: "in" });
const frame = ethernet(ipv4({ from: HOST.v4, to: GUEST.v4 }, TCP, tcp(22, 1000)));
const leaving = ethernet(ipv4({ from: GUEST.v4, to: HOST.v4 }, TCP, tcp(1000, 22)));

let kernel: OldKernel;
let network: GuestNetwork;
let backend: RuleBackend;

async function open(leaseMs: number | null = null): Promise<void> {
  await backend.open({ id: "vm1", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs });
}

beforeEach(async () => {
  kernel = new OldKernel();
  network = new GuestNetwork("host");
  backend = nftables();
  await open();
});

afterEach(async () => {
  await backend.close({ keep: false });
  network.close();
  kernel.leave();
});

const tables = () => [...sh("nft list tables").matchAll(/(\w+) (xfilter_\w+)/g)].map(([, family]) => family);
const table = () => /xfilter_\w+/.exec(sh("nft list tables"))![0];
const keys = (patterns: readonly { key: string }[]) => patterns.map(({ key }) => key).sort();
const wanted = assorted.map(patternKey).sort();

/** Sends the guest a datagram; how many were dropped by now of the one pattern that is in force. */
async function lost(): Promise<number | null> {
  // Routing says so to whoever sends.
  sh(`bash -c 'echo > /dev/udp/${GUEST.v4}/1000' 2> /dev/null || true`);
  return (await backend.inspect({ signal })).patterns[0]!.packets;
}

/** Takes the guest's device out of its bridge, or into it, and the host's address with it. */
function move(where: "nomaster" | "master br0", from: string, to: string): void {
  sh(`ip link set ${TAP} ${where}; ip addr del ${HOST.v4}/24 dev ${from}; ip addr add ${HOST.v4}/24 dev ${to}`);
  network.neighbour(GUEST.v4, "02:00:00:00:00:02", to);
}

describe("its tables", () => {
  it("are one to whoever looks, and nothing is done twice", async () => {
    expect((await backend.reconcile(planOf(assorted), { signal })).added).toHaveLength(assorted.length);
    const { patterns, bites, problems } = await backend.inspect({ signal });
    expect([keys(patterns), bites, problems]).toEqual([wanted, true, []]);
    const again = await backend.reconcile(planOf(assorted), { signal });
    expect(again).toEqual({ added: [], removed: [], unchanged: assorted.length, repaired: false });
    expect(tables()).toEqual(["netdev", "bridge", "inet"]);
  });

  it("change by what differs, all in one step", async () => {
    await backend.reconcile(planOf(assorted), { signal });
    const fewer = assorted.filter((_, index) => index % 2 === 0);
    for (const some of [fewer, assorted, [], assorted]) {
      await backend.reconcile(planOf(some), { signal });
      const { patterns, problems } = await backend.inspect({ signal });
      expect([keys(patterns), problems]).toEqual([some.map(patternKey).sort(), []]);
    }
  });

  it("hold for a device that leaves its bridge or comes into one, at once, and count as one", async () => {
    const any = pattern({ direction: "in", protocol: "udp", remote: { address: null, ports: null } });
    await backend.reconcile(planOf([any]), { signal });
    expect(await lost()).toBe(1);
    move("nomaster", "br0", TAP);
    expect(await lost()).toBe(2);
    move("master br0", TAP, "br0");
    expect(await lost()).toBe(3);
  });

  it("ask for the addresses that the guest sees, where others translate them", async () => {
    const seen = pattern({
      direction: "in",
      protocol: "udp",
      local: { port: null },
      remote: { address: "10.1.0.9", ports: null },
    });
    await backend.reconcile(planOf([seen]), { signal });
    const theirs = `table ip theirs { chain c { type nat hook postrouting priority srcnat; ip daddr ${GUEST.v4} snat to 10.1.0.9; }; }`;
    sh(`nft '${theirs}'`);
    expect(await lost()).toBe(1);
    move("nomaster", "br0", TAP);
    expect(await lost()).toBe(2);
    sh("nft delete table ip theirs");
    expect(await lost()).toBe(2);
  });

  it("survive `nft list ruleset | nft -f -`", async () => {
    await backend.reconcile(planOf([...assorted, entering]), { signal });
    const saved = sh("nft list ruleset");
    sh(`nft list ruleset > /dev/shm/xfilter-ruleset; nft flush ruleset
      nft -f /dev/shm/xfilter-ruleset; rm /dev/shm/xfilter-ruleset`);
    expect(sh("nft list ruleset")).toBe(saved);
    expect([network.passed("in", frame), network.passed("out", leaving)]).toEqual([0, 0]);
  });

  it("go together", async () => {
    await backend.reconcile(planOf([pattern(), entering]), { signal });
    const guests = await installedGuests({ signal });
    expect(guests).toMatchObject([{ guest: "vm1", interfaces: [TAP], patterns: [{}, {}] }]);
    await removeGuests(guests, { signal });
    expect(tables()).toEqual([]);
    await backend.reconcile(planOf([pattern(), entering, pattern({ local: { port: 1 } })]), { signal });
    expect(tables()).toHaveLength(3);
    await backend.close({ keep: false });
    expect(tables()).toEqual([]);
  });

  it("are taken over by an agent on a newer kernel, and nothing is left over", async () => {
    await backend.reconcile(planOf([pattern(), entering]), { signal });
    await backend.close({ keep: true });
    kernel.leave();
    await open();
    const { patterns } = await backend.inspect({ signal });
    expect(keys(patterns)).toEqual([pattern(), entering].map(patternKey).slice(0, 1));
    await backend.reconcile(planOf([pattern(), entering]), { signal });
    expect(tables()).toEqual(["netdev"]);
    expect(network.passed("in", frame)).toBe(0);
    kernel = new OldKernel();
  });

  it("end with their lease, all of them", async () => {
    await open(1_000);
    await backend.reconcile(planOf([pattern(), entering]), { signal });
    expect([network.passed("in", frame), network.passed("out", leaving)]).toEqual([0, 0]);
    while (network.passed("in", frame) + network.passed("out", leaving) < 2) sh("sleep 0.05");
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems.length]).toEqual([false, 3]);
  });

  const ways: [string, string][] = [
    ["delete one", "nft delete table bridge TABLE"],
    ["delete another", "nft delete table inet TABLE"],
    ["take a flow out of one", "nft delete element bridge TABLE in4_flow '{ 10.1.0.2 . tcp . 1000 . 10.1.0.1 . 22 }'"],
    ["put a rule in front", "nft insert rule inet TABLE in accept"],
    ["delete a hook", "nft flush chain bridge TABLE in_0; nft delete chain bridge TABLE in_0"],
    ["unbind the device", "nft flush set inet TABLE bound"],
    ["empty the rest", "nft flush chain bridge TABLE rest_in4"],
    ["flush everything", "nft flush ruleset"],
  ];
  it.each(ways)("are put right when others %s", async (_, command) => {
    const rest = pattern({
      direction: "in",
      local: { port: null, address: null },
      remote: { address: null, ports: [7, 7] },
    });
    const plan = planOf([...assorted, entering, rest]);
    await backend.reconcile(plan, { signal });
    sh(command.replaceAll("TABLE", table()));
    network.watch();
    const found = await backend.inspect({ signal });
    expect([found.bites, found.problems.length > 0]).toEqual([false, true]);
    expect(await backend.reconcile(plan, { signal })).toMatchObject({ repaired: true });
    expect(network.passed("in", frame)).toBe(0);
    const { patterns, problems } = await backend.inspect({ signal });
    expect([keys(patterns), problems]).toEqual([keys(plan.patterns), []]);
  });
});

describe("what goes past bridges and routing", () => {
  const rule = parseRule("deny tcp from any to any 22 in");
  const both = parseRule("reject tcp from any to any 22");
  const out = parseRule("deny tcp from any to any 22 out");

  async function expectRefused(code: string): Promise<void> {
    await open();
    const { capabilities, name } = backend;
    expect(capabilities.actions.in).toEqual([]);
    for (const refused of [rule, both])
      expect(() => requireCapable([refused], capabilities, name)).toThrow(expect.objectContaining({ code }));
    requireCapable([out], capabilities, name);
    await expect(backend.reconcile(planOf([entering]), { signal })).rejects.toMatchObject({ code });
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(network.passed("out", leaving)).toBe(0);
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
  }

  it("is refused where another device sends by the guest's", async () => {
    sh(`ip link set ${TAP} nomaster; ip link add upper0 link ${TAP} type macvlan mode bridge`);
    await expectRefused("INTERFACE_UNSEEN");
  });

  it("is refused where a flowtable sends by it, a bridge's port's only if it names the port", async () => {
    kernel.offload("fast", ["eth0"]);
    await open();
    expect(backend.capabilities.actions.in).not.toEqual([]);
    kernel.offload("fast", ["eth0", TAP]);
    await expectRefused("INTERFACE_UNSEEN");
    kernel.offload("fast", ["eth0"]);
    sh(`ip link set ${TAP} nomaster`);
    await expectRefused("INTERFACE_UNSEEN");
  });

  it("is told, and refused, where it comes up later", async () => {
    await backend.reconcile(planOf([entering]), { signal });
    kernel.offload("fast", [TAP]);
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems]).toEqual([false, [expect.stringContaining("fast")]]);
    const again = backend.reconcile(planOf([entering]), { signal });
    await expect(again).rejects.toMatchObject({ code: "INTERFACE_UNSEEN" });
    expect(network.passed("in", frame)).toBe(0);
  });

  it("is all, where the kernel has no nftables for bridges", async () => {
    kernel.leave();
    kernel = new OldKernel("bridge");
    await expectRefused("BACKEND_UNSUPPORTED");
  });
});

describe("a kernel that cannot answer at ingress", () => {
  it("filters, and refuses what would be rejected", async () => {
    kernel.leave();
    kernel = new OldKernel("reject");
    await open();
    const { capabilities, name } = backend;
    expect(capabilities.actions).toEqual({ out: ["drop", "accept", "log"], in: ["drop", "accept", "log"] });
    const rule = parseRule("reject tcp from any to any 22 out");
    const code = "BACKEND_UNSUPPORTED";
    expect(() => requireCapable([rule], capabilities, name)).toThrow(expect.objectContaining({ code }));
    const rejecting = backend.reconcile(planOf([pattern({ action: "reject" })]), { signal });
    await expect(rejecting).rejects.toMatchObject({ code });
    await backend.reconcile(planOf([pattern(), entering]), { signal });
    expect([network.passed("in", frame), network.passed("out", leaving)]).toEqual([0, 0]);
    expect(await backend.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
  });
});
