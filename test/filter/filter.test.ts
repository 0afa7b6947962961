import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { nftables } from "../../lib/backends/index.ts";
import { createFilter, type Filter, type FilterEvent, type FilterOptions } from "../../lib/filter/index.ts";
import { type Guest, type GuestInterface, introspect, type XFilterErrorCode } from "../../lib/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import { alice, type Lab, type LabGuest, mallory, startLab, type Talker, usual } from "../../vmcore-fixtures/lab.ts";
import { type Heard, type Held, losses } from "../../vmcore-fixtures/lab-report.ts";
import { GuestRam } from "./guest-ram.ts";

// The whole: rules about a guest's users and processes, kept in force from outside of it, and every byte of everybody accounted for.

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

const NO_SSH = [`deny tcp from any to any 22 out uid ${mallory}`, `deny udp from any to any 22 out uid ${mallory}`];

async function newFilter(rules: readonly string[], options: Partial<FilterOptions> = {}): Promise<Filter> {
  filter = createFilter({ guest, rules, backend: nftables(), id: "lab-a", intervalMs: 100, ...options });
  await filter.start();
  return filter;
}

/** What arrived outside of a flow. */
async function heard(guest: LabGuest, { flow }: Held): Promise<Pick<Heard, "bytes" | "gaps">> {
  return (await guest.outside.report()).heard.find((heard) => heard.flow === flow) ?? { bytes: 0, gaps: 0 };
}

const arrived = async (guest: LabGuest, flow: Held) => (await heard(guest, flow)).bytes;

/** Resolves when more of the flow has come back to its sender than now. */
async function flows(talker: Talker, { flow }: Held): Promise<void> {
  const echoed = async () => (await talker.report()).held.find((held) => held.flow === flow)!.echoed;
  const before = await echoed();
  await expect.poll(echoed, { timeout: 60_000, interval: 200 }).toBeGreaterThan(before);
}

/** Whether nothing of the flow arrives for a second, in which everybody else's does. */
async function stands(guest: LabGuest, flow: Held): Promise<boolean> {
  const before = await arrived(guest, flow);
  await sleep(1000);
  return (await arrived(guest, flow)) === before;
}

/** What somebody lost of all that he sent, until now. */
async function lostBy(guest: LabGuest, talker: Talker): Promise<string[]> {
  const last = await talker.stop();
  return losses(last, await guest.outside.report());
}

describe("a rule about a user", () => {
  it("stops that user's connections, old and new, of every protocol, and costs nobody else a byte", async () => {
    const [honest, blocked, twin] = await Promise.all([
      lab.a.talk({ uid: alice, ...usual }),
      lab.a.talk({ uid: mallory, drain: 5000, patience: 10_000, ...usual }),
      lab.b.talk({ uid: mallory, ...usual }),
    ]);
    for (const flow of blocked.started.held) await flows(blocked, flow);

    await newFilter(NO_SSH);
    await sleep(300);
    for (const flow of blocked.started.held) expect(await stands(lab.a, flow)).toBe(true);
    const before = await blocked.report();
    await sleep(2000);
    const during = await blocked.report();
    const done = ({ opened }: typeof during, port: number) =>
      opened.filter((flow) => flow.port === port).reduce((sum, { done }) => sum + done, 0);
    expect(done(during, 80)).toBeGreaterThan(done(before, 80)); // web stays open to him

    filter!.setRules([]);
    for (const flow of blocked.started.held.filter(({ protocol }) => protocol === "tcp")) await flows(blocked, flow);
    expect(await lostBy(lab.a, honest)).toEqual([]);
    expect(await lostBy(lab.b, twin)).toEqual([]);
    const lost = await lostBy(lab.a, blocked);
    expect(lost.filter((line) => line.includes("to port 80"))).toEqual([]);
  });

  it("catches what goes to the machine itself", async () => {
    const blocked = await lab.a.talk({ uid: mallory, to: "host", hold: ["tcp4:22", "udp6:22"], drain: 500 });
    for (const flow of blocked.started.held) await flows(blocked, flow);
    await newFilter(NO_SSH);
    await sleep(300);
    const bytes = async () => (await lab.host.heard()).heard.reduce((sum, { bytes }) => sum + bytes, 0);
    const before = await bytes();
    await sleep(1000);
    expect(await bytes()).toBe(before);
    await blocked.exit("reset");
  });

  it("lets nothing out of a queue that the user left behind", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], quiet: true });
    await newFilter(NO_SSH);
    await sleep(300);
    const before = await arrived(lab.a, blocked.started.held[0]!);
    const { sent } = (await blocked.exit("queue")).held[0]!;
    await sleep(3000);
    expect(await arrived(lab.a, blocked.started.held[0]!)).toBe(before);
    expect(sent).toBeGreaterThan(before);
    expect(filter!.status().inForce).not.toEqual([]); // the orphan is what is left of it
  });

  it("makes a listener of his unreachable, and nobody else's", async () => {
    await lab.a.serve(mallory, ["tcp4:2222"]);
    await lab.a.serve(alice, ["tcp4:2223"]);
    await newFilter([`deny tcp from any to any in uid ${mallory}`]);
    const visitor = await lab.a.outside.talk({ open: ["tcp4:2222", "tcp4:2223"], patience: 500, drain: 500 });
    await sleep(3000);
    const { opened } = await visitor.stop();
    expect(opened.find(({ port }) => port === 2222)!.done).toBe(0);
    expect(opened.find(({ port }) => port === 2223)!.done).toBeGreaterThan(0);
  });

  it("says of a container behind the guest's own masquerade that it cannot be enforced", async () => {
    const contained = await lab.a.contain({ uid: mallory, hold: ["tcp4:22"] });
    await flows(contained, contained.started.held[0]!);
    await newFilter(NO_SSH);
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
    await newFilter(NO_SSH, { intervalMs: 1000 });
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

describe("what others do to the firewall", () => {
  it.each([
    ["flush it", ["flush", "ruleset"]],
    ["delete every table of it", ["destroy-all"]],
  ])("is repaired when they %s", async (_, [verb, ...words]) => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    await newFilter(NO_SSH, { reconcileMs: 500 });
    const events = filter!.events();
    if (verb === "flush") await run("nft", [verb, ...words]);
    else for (const table of await tables()) await run("nft", ["delete", "table", "netdev", table]);
    await event(events, "repaired");
    await sleep(300);
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    await blocked.exit("reset");
  });
});

async function tables(): Promise<string[]> {
  const text = (await run("nft", ["list", "tables", "netdev"])).toString();
  return Array.from(text.matchAll(/^table netdev (\S+)$/gm), ([, name]) => name!);
}

async function event(events: AsyncIterator<FilterEvent>, type: FilterEvent["type"]): Promise<FilterEvent> {
  for (;;) {
    const { done, value } = await events.next();
    if (done) throw new Error(`The filter ended without "${type}".`);
    if (value.type === type) return value;
  }
}

/** There may be others before it: a plan that could not be put in force meanwhile. */
async function failure(events: AsyncIterator<FilterEvent>, code: XFilterErrorCode): Promise<void> {
  for (;;) {
    const failed = await event(events, "failed");
    if (failed.type === "failed" && failed.error.code === code) return;
  }
}

/** The command in a process of its own, as an operator runs it; by the process, since these tests hold the monitor. */
async function command(...args: string[]): Promise<ChildProcess> {
  const program = join(import.meta.dirname, "../../dist/cli/main.js");
  const child = spawn(process.execPath, [program, "block", `qemu:pid:${lab.a.live.pid}`, ...args]);
  await new Promise<void>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`xfilter ended with ${code}.`)));
    child.stdout.on("data", (text: Buffer) => text.includes(" + drop out tcp ") && resolve());
  });
  return child;
}

describe("the command", () => {
  const NO_SSH_FLAGS = ["--uid", `${mallory}`, "--protocol", "tcp", "--remote-port", "22", "--direction", "out"];
  let state: string;
  beforeAll(() => {
    state = mkdtempSync(join(tmpdir(), "xfilter-state-"));
  });
  afterAll(() => rmSync(state, { recursive: true, force: true }));

  it("leaves what is in force when it is killed; another adopts it, and Ctrl-C takes it out", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    const flow = blocked.started.held[0]!;
    const killed = await command(...NO_SSH_FLAGS, "--state", state);
    killed.kill("SIGKILL");
    expect(await stands(lab.a, flow)).toBe(true);
    const before = await arrived(lab.a, flow);
    const audit = join(state, "audit.jsonl");
    const adopting = await command(...NO_SSH_FLAGS, "--state", state, "--audit", audit);
    expect(await stands(lab.a, flow)).toBe(true);
    expect(await arrived(lab.a, flow)).toBe(before);
    adopting.kill("SIGINT");
    const [code] = await once(adopting, "exit");
    expect(code).toBe(0);
    expect(await tables()).toEqual([]);
    const lines = readFileSync(audit, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toContainEqual(
      expect.objectContaining({ event: "set", owner: expect.objectContaining({ uid: mallory }) }),
    );
    expect(lines).toContainEqual(expect.objectContaining({ event: "cleared", why: "stopped" }));
    await flows(blocked, flow);
    expect(await lostBy(lab.a, blocked)).toEqual([]);
  });

  it("lets go by itself after its lease when it is killed", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    const flow = blocked.started.held[0]!;
    const killed = await command(...NO_SSH_FLAGS, "--state", state, "--lease", "3s");
    expect(await stands(lab.a, flow)).toBe(true);
    killed.kill("SIGKILL");
    await flows(blocked, flow);
    expect(await lostBy(lab.a, blocked)).toEqual([]);
    await run(process.execPath, [join(import.meta.dirname, "../../dist/cli/main.js"), "clear", "--all"]);
    expect(await tables()).toEqual([]);
  });
});

describe("a filter that ends", () => {
  it("leaves nothing in the firewall, or everything when it is to keep it; another adopts it without a gap", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    await newFilter(NO_SSH);
    await filter!.stop({ keep: true });
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    const before = await arrived(lab.a, blocked.started.held[0]!);
    await newFilter(NO_SSH);
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    expect(await arrived(lab.a, blocked.started.held[0]!)).toBe(before);
    await filter!.stop();
    expect(await tables()).toEqual([]);
    await flows(blocked, blocked.started.held[0]!);
    expect(await lostBy(lab.a, blocked)).toEqual([]);
  });
});

describe("a device that is deleted", () => {
  it("and made again for the guest has the rules from the next look on", async () => {
    const [blocked, honest] = await Promise.all(
      [mallory, alice].map((uid) => lab.a.talk({ uid, hold: ["tcp4:22"], drain: 60_000 })),
    );
    await newFilter(NO_SSH, { reconcileMs: 500 });
    const [{ index }] = filter!.status().interfaces as [GuestInterface];
    const events = filter!.events();
    await lab.a.unplug();
    await failure(events, "INTERFACE_NOT_FOUND");
    await lab.a.plug();
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: lab.a.tap }] });
    expect(filter!.status().interfaces[0]!.index).not.toBe(index);
    await flows(honest!, honest!.started.held[0]!);
    const stopped = () => filter!.status().inForce.reduce((sum, { packets }) => sum + (packets ?? 0), 0);
    const before = stopped();
    await expect.poll(stopped, { timeout: 60_000 }).toBeGreaterThan(before);
    expect(await stands(lab.a, blocked!.started.held[0]!)).toBe(true);
    filter!.setRules([]);
    await flows(blocked!, blocked!.started.held[0]!);
    for (const talker of [blocked, honest]) expect(await lostBy(lab.a, talker!)).toEqual([]);
  });

  it("and made again under its name for another guest has none of them, and is refused as this one's", async () => {
    const same = { uid: mallory, hold: ["tcp4:22:40002"], drain: 60_000 };
    const [blocked, twin] = await Promise.all([lab.a.talk(same), lab.b.talk(same)]);
    await newFilter(NO_SSH, { reconcileMs: 500, interfaces: [lab.a.tap] });
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    const events = filter!.events();
    await lab.a.unplug();
    await lab.b.unplug();
    await lab.b.plug(lab.a.tap);
    await flows(twin, twin.started.held[0]!);
    const { polls } = filter!.status();
    await expect.poll(() => filter!.status().polls, { timeout: 60_000 }).toBeGreaterThan(polls + 30);
    await flows(twin, twin.started.held[0]!);
    await expect(guest.interfaces({ names: [lab.a.tap] })).rejects.toMatchObject({ code: "INTERFACE_FOREIGN" });
    expect(await lostBy(lab.b, twin)).toEqual([]);
    await lab.b.unplug(lab.a.tap);
    await lab.b.plug();
    await lab.a.plug();
    // First to none: what it had was another guest's.
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [] });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: lab.a.tap }] });
    await blocked.exit("reset");
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
    await newFilter(NO_SSH, { onUnreadable: "hold", maxHoldMs: 5000 });
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
    await newFilter(NO_SSH, { onUnreadable: "widen" });
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

// The last, since they cost the lab a guest.
describe("a guest that goes away under a filter", () => {
  it("boots anew: the filter says so, and goes on", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    await newFilter(NO_SSH);
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    const events = filter!.events();
    const { bootId } = filter!.status();
    const { booted } = await lab.a.live.reset();
    await event(events, "booted");
    await booted;
    await expect
      .poll(() => filter!.status(), { timeout: 60_000 })
      .toMatchObject({ inForce: [], unreadableSince: null });
    expect(filter!.status().bootId).not.toBe(bootId);
  });

  it("has its QEMU end: the filter ends, and leaves nothing in the firewall", async () => {
    await newFilter([`deny tcp from any to any 22 out uid ${mallory}`]);
    const events = filter!.events();
    lab.a.live.qemu.kill("SIGKILL");
    expect(await event(events, "ended")).toMatchObject({ error: { code: "SOURCE_GONE" } });
    expect(await tables()).toEqual([]);
  });
});
