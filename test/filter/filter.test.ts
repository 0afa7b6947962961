import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { nftables } from "../../lib/backends/index.ts";
import { createFilter, type Filter, type FilterOptions } from "../../lib/filter/index.ts";
import { type Guest, introspect } from "../../lib/index.ts";
import { alice, type Lab, mallory, noSshForMallory, startLab, type Talker } from "../../vmcore-fixtures/lab.ts";
import { GuestRam } from "./guest-ram.ts";
import { arrived, event, flows, heard, lostBy, stands } from "./observing.ts";

// What the filter makes of a guest's users and processes, with every byte of everybody accounted for; backends.test.ts has what each firewall makes of it.

const abort = new AbortController();
let lab: Lab;
let guest: Guest;
let filter: Filter | undefined;

beforeAll(async () => {
  lab = await startLab({ signal: abort.signal });
  guest = await introspect({ qemu: { qmp: lab.a.live.qmp } });
});

afterAll(async () => {
  await guest?.close();
  await lab?.close();
  abort.abort();
});

afterEach(async () => {
  await filter?.stop();
  filter = undefined;
});

async function newFilter(rules: readonly string[], options: Partial<FilterOptions> = {}): Promise<Filter> {
  filter = createFilter({ guest, rules, backend: nftables(), id: "lab-a", intervalMs: 100, ...options });
  await filter.start();
  return filter;
}

describe("a rule about a user", () => {
  it("lets nothing out of a queue that the user left behind", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], quiet: true });
    await newFilter(noSshForMallory);
    await sleep(300);
    const before = await arrived(lab.a, blocked.started.held[0]!);
    const { sent } = (await blocked.exit("queue")).held[0]!;
    await sleep(3000);
    expect(await arrived(lab.a, blocked.started.held[0]!)).toBe(before);
    expect(sent).toBeGreaterThan(before);
    expect(filter!.status().inForce).not.toEqual([]); // the orphan is what is left of it
  });

  it("says of a container behind the guest's own masquerade that it cannot be enforced", async () => {
    const contained = await lab.a.contain({ uid: mallory, hold: ["tcp4:22"] });
    await flows(contained, contained.started.held[0]!);
    await newFilter(noSshForMallory);
    expect(filter!.status().unenforceable).toMatchObject([{ reason: "nat", owner: { uid: mallory } }]);
    const ports = filter!.status().inForce.map(({ pattern }) => pattern.local.port);
    expect(ports).not.toContain(contained.started.held[0]!.localPort);
    expect(await lostBy(lab.a, contained)).toEqual([]);
  });
});

describe("a rule about a process", () => {
  it("stops it and its descendants, also an orphaned grandchild", async () => {
    const family = await lab.a.talk({ uid: alice, hold: ["tcp4:22"], lineage: true, drain: 500 });
    const [grandparent] = family.started.pids;
    await newFilter([`deny tcp from any to any 22 out pid ${grandparent} descendants`]);
    await family.orphan();
    await sleep(300);
    expect(await stands(lab.a, family.started.held[0]!)).toBe(true);
    await family.exit("reset");
  });

  it("does not stop another process that gets its pid, nor its port", async () => {
    const first = await lab.a.talk({ uid: mallory, hold: ["udp4:22:40000"], drain: 200 });
    const pid = first.started.pids[2];
    await newFilter([`deny udp from any to any 22 out pid ${pid}`]);
    expect(await stands(lab.a, first.started.held[0]!)).toBe(true);
    await first.exit("reset");
    const polls = filter!.status().polls;
    await expect.poll(() => filter!.status().polls, { interval: 20 }).toBeGreaterThan(polls + 2);
    const second = await lab.a.talk({ uid: alice, hold: ["udp4:22:40000"], pid });
    expect(second.started.pids[2]).toBe(pid);
    expect(await lostBy(lab.a, second)).toEqual([]);
  });
});

describe("somebody who gets a port that another just had", () => {
  it("is let go with the next poll, and loses no more than until then", async () => {
    const first = await lab.a.talk({ uid: mallory, hold: ["udp4:22:40001"], drain: 200 });
    await newFilter(noSshForMallory, { intervalMs: 1000 });
    expect(await stands(lab.a, first.started.held[0]!)).toBe(true);
    await first.exit("reset");
    const second = await lab.a.talk({ uid: alice, hold: ["udp4:22:40001"], drain: 2000 });
    const flow = second.started.held[0]!;
    const events = filter!.events();
    await event(events, "cleared");
    await sleep(100);
    const { gaps } = await heard(lab.a, flow);
    console.log(`until the next poll she lost ${gaps} datagrams`);
    await sleep(1000);
    expect((await heard(lab.a, flow)).gaps).toBe(gaps);
    await flows(second, flow);
    await second.stop();
  });
});

describe("a guest whose memory is garbage where its kernel is known by", () => {
  let ram: GuestRam;
  beforeAll(async () => {
    ram = await GuestRam.open(lab.a.live.pid);
  });
  afterAll(() => ram.close());

  /** mallory, who is blocked, and alice. */
  async function talkers() {
    const both = [mallory, alice].map((uid) => lab.a.talk({ uid, hold: ["tcp4:22"], drain: 60_000 }));
    return (await Promise.all(both)) as [Talker, Talker];
  }

  it("is held as it was and then released, and blocked again when it can be read", async () => {
    const [blocked, honest] = await talkers();
    const [flow, others] = [blocked.started.held[0]!, honest.started.held[0]!];
    await newFilter(noSshForMallory, { onUnreadable: "hold", maxHoldMs: 5000 });
    const events = filter!.events();
    const restore = await ram.spoil(guest.kernel.banner);
    expect(await event(events, "unreadable")).toMatchObject({ applied: "hold" });
    expect(await stands(lab.a, flow)).toBe(true);
    await flows(honest, others);
    expect(await event(events, "unreadable")).toMatchObject({ applied: "release" });
    expect(await event(events, "cleared")).toMatchObject({ why: "unreadable" });
    await flows(blocked, flow);
    await restore();
    await event(events, "readable");
    await event(events, "set");
    expect(await stands(lab.a, flow)).toBe(true);
    await flows(honest, others);
    await filter!.stop();
    await flows(blocked, flow);
    for (const talker of [blocked, honest]) expect(await lostBy(lab.a, talker)).toEqual([]);
  });

  it("has the rules for everybody, if they are to widen, until it can be read", async () => {
    const [blocked, honest] = await talkers();
    const [flow, others] = [blocked.started.held[0]!, honest.started.held[0]!];
    await newFilter(noSshForMallory, { onUnreadable: "widen" });
    const events = filter!.events();
    const restore = await ram.spoil(guest.kernel.banner);
    expect(await event(events, "unreadable")).toMatchObject({ applied: "widen" });
    expect(await event(events, "set")).toMatchObject({ pattern: { reason: "widened", remote: { ports: [22, 22] } } });
    expect(await stands(lab.a, others)).toBe(true);
    expect(await stands(lab.a, flow)).toBe(true);
    const web = await lab.a.talk({ uid: alice, hold: ["tcp4:80"] });
    await flows(web, web.started.held[0]!);
    await restore();
    await event(events, "readable");
    await flows(honest, others);
    expect(await stands(lab.a, flow)).toBe(true);
    await filter!.stop();
    await flows(blocked, flow);
    for (const talker of [blocked, honest, web]) expect(await lostBy(lab.a, talker)).toEqual([]);
  });
});
