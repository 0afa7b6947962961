import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { installedGuests, nftables, type RuleBackend, removeGuests } from "../../lib/backends/index.ts";
import { readDevice } from "../../lib/backends/interface.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
import { planOf } from "../../lib/testing/plan.ts";
import { ethernet, ipv4, TCP, tcp, UDP, udp } from "./frame.ts";
import { GUEST, GuestNetwork, HOST, sh, TAP } from "./network.ts";
import { assorted, pattern } from "./plan.ts";

// What the backend makes of the firewall, and of what others do to it.

const { signal } = new AbortController();
let network: GuestNetwork;
let opened: RuleBackend[] = [];

beforeAll(() => {
  network = new GuestNetwork();
});

afterAll(() => network?.close());

afterEach(async () => {
  for (const backend of opened) await backend.close({ keep: false });
  opened = [];
});

const blocked = ethernet(ipv4({ from: GUEST.v4, to: HOST.v4 }, TCP, tcp(1000, 22)));
const other = ethernet(ipv4({ from: GUEST.v4, to: HOST.v4 }, UDP, udp(1000, 22)));

async function open({ id = 'vm "1"; drop\n', leaseMs = null as number | null } = {}): Promise<RuleBackend> {
  const backend = nftables();
  opened.push(backend);
  await backend.open({ id, bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs });
  return backend;
}

const table = () => /netdev (xfilter_\w+)/.exec(sh("nft list tables"))![1]!;
const keys = (patterns: readonly FlowPattern[]) => patterns.map(patternKey).sort();

describe("what is held", () => {
  it("is not written twice", async () => {
    const backend = await open();
    expect(await backend.inspect({ signal })).toMatchObject({ patterns: [], bites: false });
    await backend.reconcile(planOf(assorted), { signal });
    const handles = sh(`nft -sta list table netdev ${table()}`);
    await backend.reconcile(planOf(assorted), { signal });
    await backend.inspect({ signal });
    await backend.reconcile(planOf(assorted), { signal });
    expect(sh(`nft -sta list table netdev ${table()}`)).toBe(handles);
  });

  it("changes by what differs, an action, too", async () => {
    const backend = await open();
    await backend.reconcile(planOf(assorted), { signal });
    const [first, second, ...rest] = assorted;
    const changed = [{ ...second!, action: "drop" as const }, ...rest.slice(0, -3), pattern({ local: { port: 7 } })];
    const { added, removed } = await backend.reconcile(planOf(changed), { signal });
    expect([...added].sort()).toEqual(keys([changed[0]!, changed.at(-1)!]));
    expect([...removed].sort()).toEqual(keys([first!, second!, ...rest.slice(-3)]));
    const { patterns, problems } = await backend.inspect({ signal });
    expect([patterns.map(({ key }) => key).sort(), problems]).toEqual([keys(changed), []]);
    await backend.reconcile(planOf([]), { signal });
    expect(sh(`nft list table netdev ${table()}`)).not.toContain("list_");
    expect(await backend.inspect({ signal })).toMatchObject({ patterns: [], bites: true });
  });

  it("counts the packets of a flow", async () => {
    const backend = await open();
    const shared = pattern({ local: { port: 53 }, remote: { ports: [1, 9] } });
    await backend.reconcile(planOf([pattern(), shared]), { signal });
    network.passed("out", blocked, blocked, other, blocked);
    const { patterns } = await backend.inspect({ signal });
    expect(Object.fromEntries(patterns.map(({ key, packets }) => [key, packets]))).toEqual({
      [patternKey(pattern())]: 3,
      [patternKey(shared)]: null,
    });
  });

  it("survives `nft list ruleset | nft -f -`", async () => {
    const backend = await open();
    await backend.reconcile(planOf(assorted), { signal });
    const saved = sh("nft list ruleset");
    sh(`nft list ruleset > /dev/shm/xfilter-ruleset; nft flush ruleset
      nft -f /dev/shm/xfilter-ruleset; rm /dev/shm/xfilter-ruleset`);
    expect(sh("nft list ruleset")).toBe(saved);
    expect(network.passed("out", blocked, other)).toBe(1);
    expect(await backend.reconcile(planOf(assorted), { signal })).toMatchObject({ added: [], repaired: false });
  });

  it("may be ten thousand patterns", async () => {
    const backend = await open();
    const many = Array.from({ length: 10_000 }, (_, index) =>
      pattern({ local: { port: 1024 + (index % 50_000) }, remote: { address: `10.2.${index >> 8}.${index & 255}` } }),
    );
    await backend.reconcile(planOf([...many, pattern()]), { signal });
    expect((await backend.inspect({ signal })).patterns).toHaveLength(10_001);
    expect(network.passed("out", blocked, other)).toBe(1);
    const { removed, unchanged } = await backend.reconcile(planOf(many.slice(1)), { signal });
    expect([removed.length, unchanged]).toEqual([2, 9_999]);
  });

  it("ends with close, or stays", async () => {
    const backend = await open();
    await backend.reconcile(planOf([pattern()]), { signal });
    await backend.close({ keep: true });
    expect(network.passed("out", blocked)).toBe(0);
    await expect(backend.inspect({ signal })).rejects.toMatchObject({ code: "CLOSED" });
    await (await open()).close({ keep: false });
    expect(sh("nft list tables")).not.toContain("xfilter");
    expect(network.passed("out", blocked)).toBe(1);
  });

  it("is adopted by the next agent, with its counts", async () => {
    const first = await open();
    await first.reconcile(planOf(assorted), { signal });
    network.passed("out", blocked, blocked);
    await first.close({ keep: true });
    const next = await open();
    const wanted = [...assorted.slice(0, -1), pattern({ local: { port: 7 } })];
    const { added, removed, repaired } = await next.reconcile(planOf(wanted), { signal });
    expect([added, removed, repaired]).toEqual([keys([wanted.at(-1)!]), keys([assorted.at(-1)!]), false]);
    expect(network.passed("out", blocked)).toBe(0);
    const { patterns, bites } = await next.inspect({ signal });
    expect(bites).toBe(true);
    expect(patterns.find(({ key }) => key === patternKey(pattern()))!.packets).toBe(3);
  });
});

describe("of an agent that ended between two tables", () => {
  it.each([0, 1])("nothing is left over", async (which) => {
    const first = await open();
    await first.reconcile(planOf([pattern()]), { signal });
    const [name, other] = [table(), table().replace(/.$/, (digit) => String(1 - Number(digit)))];
    // The later one is taken for the one in force: here the empty one, or the one that was there.
    sh(`nft add table netdev ${other}`);
    if (which === 0)
      sh(`nft list table netdev ${name} > /dev/shm/xfilter-table; nft delete table netdev ${name}
      nft -f /dev/shm/xfilter-table; rm /dev/shm/xfilter-table`);
    const next = await open();
    const { added } = await next.reconcile(planOf([pattern()]), { signal });
    expect(added).toHaveLength(which);
    expect((await installedGuests({ signal })).map(({ patterns }) => patterns.length)).toEqual([1]);
    expect(await next.inspect({ signal })).toMatchObject({ bites: true, problems: [] });
    expect(network.passed("out", blocked)).toBe(0);
  });
});

describe("nothing blocked gets by", () => {
  it("while flows around it come and go, while the table is made again, while an agent takes over", async () => {
    const backend = await open();
    await backend.reconcile(planOf(assorted), { signal });
    const { sent, passed } = await network.passedWhile("out", blocked, async () => {
      for (let round = 0; round < 10; round++) {
        await backend.reconcile(planOf([pattern(), pattern({ local: { port: 2000 + round }, action: "reject" })]), {
          signal,
        });
        sh(`nft insert rule netdev ${table()} in accept`);
        await backend.inspect({ signal });
        expect(await backend.reconcile(planOf(assorted), { signal })).toMatchObject({ repaired: true });
        await (await open()).reconcile(planOf(assorted), { signal });
        await backend.inspect({ signal });
        await backend.reconcile(planOf(assorted), { signal });
      }
    });
    expect(sent).toBeGreaterThan(1_000);
    expect(passed).toBe(0);
  });
});

describe("what others do", () => {
  const ways: [string, string][] = [
    ["flush everything", "nft flush ruleset"],
    ["delete the table", "nft delete table netdev TABLE"],
    ["take out a flow", "nft delete element netdev TABLE out4_flow '{ 10.1.0.2 . tcp . 1000 . 10.1.0.1 . 22 }'"],
    [
      "change a flow's verdict",
      "nft 'delete element netdev TABLE out4_flow { 10.1.0.2 . tcp . 1000 . 10.1.0.1 . 22 }; add element netdev TABLE out4_flow { 10.1.0.2 . tcp . 1000 . 10.1.0.1 . 22 : accept }'",
    ],
    ["put a rule in front", "nft insert rule netdev TABLE out accept"],
    ["empty a chain", "nft flush chain netdev TABLE out4"],
    ["delete a hook", "nft delete chain netdev TABLE out_0"],
    ["unbind the device", "nft flush set netdev TABLE bound"],
    [
      "change a list",
      "nft insert rule netdev TABLE $(nft list table netdev TABLE | grep -o 'list_[0-9a-f]*' | head -1) accept",
    ],
    ["change the rest", "nft flush chain netdev TABLE rest_out4"],
    ["put the table to sleep", "nft add table netdev TABLE '{ flags dormant; }'"],
  ];
  let backend: RuleBackend;
  beforeEach(async () => {
    backend = await open();
    await backend.reconcile(planOf(assorted), { signal });
  });

  it.each(ways)(
    "is seen and put right when they %s",
    async (_, command) => {
      sh(command.replaceAll("TABLE", table()));
      network.watch();
      const found = await backend.inspect({ signal });
      expect(found.bites).toBe(false);
      expect(found.problems).not.toEqual([]);
      expect(await backend.reconcile(planOf(assorted), { signal })).toMatchObject({ repaired: true });
      expect(network.passed("out", blocked, other)).toBe(1);
      const { patterns, problems } = await backend.inspect({ signal });
      expect([patterns.map(({ key }) => key).sort(), problems]).toEqual([keys(assorted), []]);
      expect(await backend.reconcile(planOf(assorted), { signal })).toMatchObject({ added: [], repaired: false });
    },
    60_000,
  );

  it("is put right by a change that fails for it", async () => {
    sh("nft flush ruleset");
    network.watch();
    expect(await backend.reconcile(planOf(assorted.slice(1)), { signal })).toMatchObject({ repaired: true });
    expect((await backend.inspect({ signal })).patterns).toHaveLength(assorted.length - 1);
  });

  it("with tables of their own stays, and has the last word on what is accepted", async () => {
    sh(
      `nft 'table netdev theirs { chain c { type filter hook ingress device ${TAP} priority 50; tcp dport 22 drop; }; }'`,
    );
    await backend.reconcile(planOf([pattern({ action: "accept" })]), { signal });
    expect(network.passed("out", blocked)).toBe(0);
    await backend.close({ keep: false });
    expect(sh("nft list tables")).toContain("theirs");
    sh("nft delete table netdev theirs");
  });
});

describe("the guest's device", () => {
  it("made again under its name inherits nothing", async () => {
    const backend = await open();
    await backend.reconcile(planOf([pattern()]), { signal });
    network.unplug();
    network.plug();
    expect(network.passed("out", blocked)).toBe(1);
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems[0]]).toEqual([false, expect.stringContaining("another device")]);
    const again = backend.reconcile(planOf([pattern()]), { signal });
    await expect(again).rejects.toMatchObject({ code: "INTERFACE_CHANGED" });
    expect(network.passed("out", blocked)).toBe(1);
    const scope = { id: 'vm "1"; drop\n', bootId: "1", interfaces: [await network.device()] };
    await backend.open(scope, { signal, leaseMs: null });
    await backend.reconcile(planOf([pattern()]), { signal });
    expect(network.passed("out", blocked)).toBe(0);
  });

  it("with another address is another", async () => {
    const backend = await open();
    const { mac } = await network.device();
    sh(`ip link set ${TAP} address 02:00:00:00:00:77`);
    await expect(backend.reconcile(planOf([]), { signal })).rejects.toMatchObject({ code: "INTERFACE_CHANGED" });
    sh(`ip link set ${TAP} address ${mac}`);
    await backend.reconcile(planOf([]), { signal });
  });

  it("has to be there", async () => {
    const scope = { id: "1", bootId: "1", interfaces: [{ name: "tap99", index: 99, mac: "02:00:00:00:00:01" }] };
    const opening = nftables().open(scope, { signal, leaseMs: null });
    await expect(opening).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
    const none = nftables().open({ ...scope, interfaces: [] }, { signal, leaseMs: null });
    await expect(none).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  });

  it("has to have a name that nft can read back", async () => {
    sh(`ip link add 'tap"1' type veth peer name peer1`);
    const opening = nftables().open(
      { id: "1", bootId: "1", interfaces: [(await readDevice('tap"1'))!] },
      { signal, leaseMs: null },
    );
    await expect(opening).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
    sh("ip link del peer1");
  });
});

describe("a lease", () => {
  it("ends what is in force, unless it is renewed", async () => {
    const backend = await open({ leaseMs: 1_000 });
    await backend.reconcile(planOf([pattern()]), { signal });
    for (let i = 0; i < 8; i++) {
      await sleep(200);
      await backend.reconcile(planOf([pattern()]), { signal });
      expect(network.passed("out", blocked)).toBe(0);
    }
    while (network.passed("out", blocked) === 0) await sleep(50);
    const { bites, problems } = await backend.inspect({ signal });
    expect([bites, problems.join()]).toEqual([false, expect.stringContaining("lease")]);
    expect(await backend.reconcile(planOf([pattern()]), { signal })).toMatchObject({ repaired: true });
    expect(network.passed("out", blocked)).toBe(0);
  });
});

describe("nft", () => {
  it("that is killed in the middle leaves all or nothing, and is looked after", async () => {
    const backend = await open();
    await backend.reconcile(planOf([pattern()]), { signal });
    const many = Array.from({ length: 5_000 }, (_, index) =>
      pattern({ remote: { address: `10.3.${index >> 8}.${index & 255}` } }),
    );
    const reason = new Error("enough");
    for (const after of [0, 5, 20, 60]) {
      const abort = new AbortController();
      const done = backend.reconcile(planOf(many), { signal: abort.signal });
      const late = sleep(after).then(() => abort.abort(reason));
      await done.catch((error) => expect(error).toBe(reason));
      await late;
      expect([1, 5_000]).toContain((await backend.inspect({ signal })).patterns.length);
      await backend.reconcile(planOf([pattern()]), { signal });
      expect((await backend.inspect({ signal })).patterns).toHaveLength(1);
    }
  });

  it("that is not installed is said so", async () => {
    const devices = [await network.device()];
    sh("mount -t tmpfs none /usr/sbin");
    try {
      const opening = nftables().open({ id: "1", bootId: "1", interfaces: devices }, { signal, leaseMs: null });
      await expect(opening).rejects.toMatchObject({ code: "BACKEND_NOT_FOUND" });
    } finally {
      sh("/bin/umount /usr/sbin");
    }
  });
});

describe("what is installed on the host", () => {
  it("is listed with its guests, and removed", async () => {
    const long = `${"guest".repeat(30)}\u{202e}`;
    for (const id of ["vm-é", long]) await (await open({ id })).reconcile(planOf([pattern()]), { signal });
    sh("nft add table netdev xfilter_operator");
    const guests = await installedGuests({ signal });
    expect(guests.map(({ guest, interfaces, patterns }) => [guest, interfaces, patterns.length])).toEqual([
      ["vm-\\xc3\\xa9", [TAP], 1],
      [`${"guest".repeat(30).slice(0, 118)}...`, [TAP], 1],
    ]);
    await removeGuests([guests[0]!], { signal });
    expect((await installedGuests({ signal })).map(({ table }) => table)).toEqual([guests[1]!.table]);
    await removeGuests(guests, { signal });
    expect(sh("nft list tables")).toContain("xfilter_operator");
    sh("nft delete table netdev xfilter_operator");
    await expect(removeGuests([{ table: "xfilter_operator" }], { signal })).rejects.toThrow(TypeError);
  });
});
