import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createFilter, type Filter, type FilterOptions } from "../../lib/filter/index.ts";
import type { Guest, GuestInterface } from "../../lib/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import {
  alice,
  type Lab,
  type LabGuest,
  mallory,
  noSshForMallory,
  type Talker,
  usual,
} from "../../vmcore-fixtures/lab.ts";
import { losses } from "../../vmcore-fixtures/lab-report.ts";
import type { Attachment } from "../../vmcore-fixtures/lab-wire.ts";
import type { HostFirewall } from "./host-firewall.ts";
import { arrived, event, failure, flows, lostBy, rebound, stands } from "./observing.ts";

/** A lab, and its guests as they are read. In the second of them mallory listens on port 2222 and alice on 2223. */
export interface Site {
  readonly attachment: Attachment;
  readonly lab: Lab;
  readonly a: Guest;
  readonly b: Guest;
}

const NO_SSH_FLAGS = ["--uid", `${mallory}`, "--protocol", "tcp", "--remote-port", "22", "--direction", "out"];

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");

/** A port of two guests' at once, never taken twice: for a minute after, it is in TIME-WAIT. */
let lastPort = 40_100;

/** What the filter has to bring about by every firewall, however the guests are attached. */
export function scenarios(firewall: HostFirewall, at: () => Site): void {
  let lab: Lab;
  let filter: Filter | undefined;
  beforeAll(() => {
    lab = at().lab;
  });
  afterEach(async () => {
    await filter?.stop();
    filter = undefined;
    expect(await firewall.ours()).toEqual([]);
  });

  async function newFilter(rules: readonly string[], options: Partial<FilterOptions> = {}): Promise<Filter> {
    const backend = firewall.backend();
    filter = createFilter({ guest: at().a, rules, backend, id: "lab-a", intervalMs: 100, ...options });
    await filter.start();
    return filter;
  }

  /** Nothing of all that somebody sent is lost; how much that is. */
  async function expectNothingLost(guest: LabGuest, talker: Talker, whose: string): Promise<void> {
    const last = await talker.stop();
    expect(losses(last, await guest.outside.report())).toEqual([]);
    const { held, opened } = last;
    const bytes = held.reduce((sum, { sent }) => sum + sent, 0);
    const fetches = opened.reduce((sum, { done }) => sum + done, 0);
    console.log(`${whose}: nothing lost of ${bytes} bytes in ${held.length} flows and of ${fetches} connections`);
  }

  it("a rule about a user stops his connections, old and new, of every protocol, and costs nobody else a byte", async () => {
    const [honest, blocked, twin] = await Promise.all([
      lab.a.talk({ uid: alice, ...usual }),
      lab.a.talk({ uid: mallory, drain: 5000, patience: 10_000, ...usual }),
      lab.b.talk({ uid: mallory, ...usual }),
    ]);
    await flows(blocked, ...blocked.started.held);

    await newFilter(noSshForMallory);
    await sleep(300);
    const before = await blocked.report();
    expect(await stands(lab.a, ...blocked.started.held)).toBe(true);
    const during = await blocked.report();
    const done = ({ opened }: typeof during, port: number) =>
      opened.filter((flow) => flow.port === port).reduce((sum, { done }) => sum + done, 0);
    expect(done(during, 80)).toBeGreaterThan(done(before, 80)); // web stays open to him

    filter!.setRules([]);
    await flows(blocked, ...blocked.started.held.filter(({ protocol }) => protocol === "tcp"));
    await expectNothingLost(lab.a, honest, "alice");
    await expectNothingLost(lab.b, twin, "mallory of the other guest");
    const lost = await lostBy(lab.a, blocked);
    expect(lost.filter((line) => line.includes("to port 80"))).toEqual([]);
  });

  it("what goes to the machine itself is caught", async () => {
    const blocked = await lab.a.talk({ uid: mallory, to: "host", hold: ["tcp4:22", "udp6:22"], drain: 500 });
    await flows(blocked, ...blocked.started.held);
    await newFilter(noSshForMallory);
    await sleep(300);
    const bytes = async () => (await lab.host.heard()).heard.reduce((sum, { bytes }) => sum + bytes, 0);
    const before = await bytes();
    await sleep(1000);
    expect(await bytes()).toBe(before);
    await blocked.exit("reset");
  });

  // At the guest to whom the machine itself sends nothing: on a bridge, iptables cannot tell to whom that goes.
  it("a listener of his is unreachable, and nobody else's", async () => {
    await newFilter([`deny tcp from any to any in uid ${mallory}`], { guest: at().b, id: "lab-b" });
    const visitor = await lab.b.outside.talk({ open: ["tcp4:2222", "tcp4:2223"], patience: 500, drain: 500 });
    await sleep(1500);
    const { opened } = await visitor.stop();
    expect(opened.find(({ port }) => port === 2222)!.done).toBe(0);
    expect(opened.find(({ port }) => port === 2223)!.done).toBeGreaterThan(0);
  });

  it.each(Object.entries(firewall.disturbances))("it is repaired when others %s", async (_, disturb) => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    await newFilter(noSshForMallory, { reconcileMs: 500 });
    const events = filter!.events();
    await disturb();
    await event(events, "repaired");
    await sleep(300);
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    await blocked.exit("reset");
  });

  it("a filter that ends leaves nothing in the firewall, or everything when it is to keep it; another adopts it without a gap", async () => {
    const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
    await newFilter(noSshForMallory);
    await filter!.stop({ keep: true });
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    const before = await arrived(lab.a, blocked.started.held[0]!);
    await newFilter(noSshForMallory);
    expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
    expect(await arrived(lab.a, blocked.started.held[0]!)).toBe(before);
    await filter!.stop();
    expect(await firewall.ours()).toEqual([]);
    await flows(blocked, blocked.started.held[0]!);
    expect(await lostBy(lab.a, blocked)).toEqual([]);
  });

  describe("the command", () => {
    let state: string;
    beforeAll(() => {
      state = mkdtempSync(join(tmpdir(), "xfilter-state-"));
    });
    afterAll(() => rmSync(state, { recursive: true, force: true }));
    const command = (...args: string[]) =>
      blockCommand(lab.a, ...NO_SSH_FLAGS, "--state", state, "--backend", firewall.name, ...args);

    it("leaves what is in force when it is killed; another adopts it, and Ctrl-C takes it out", async () => {
      const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
      const flow = blocked.started.held[0]!;
      const killed = await command();
      killed.kill("SIGKILL");
      expect(await stands(lab.a, flow)).toBe(true);
      const before = await arrived(lab.a, flow);
      const audit = join(state, "audit.jsonl");
      const adopting = await command("--audit", audit);
      expect(await stands(lab.a, flow)).toBe(true);
      expect(await arrived(lab.a, flow)).toBe(before);
      adopting.kill("SIGINT");
      const [code] = await once(adopting, "exit");
      expect(code).toBe(0);
      expect(await firewall.ours()).toEqual([]);
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

    it("says with a plan what it could not do for this guest", async () => {
      const rules = join(state, "rules");
      writeFileSync(rules, `deny tcp from any to any 22 uid ${mallory}\n`);
      const words = ["plan", `qemu:pid:${lab.a.live.pid}`, "--rules", rules, "--backend", firewall.name];
      const planned = run(process.execPath, [PROGRAM, ...words]);
      // The machine sends into its bridge.
      const cannot = at().attachment === "bridged" && firewall.name !== "nftables";
      if (cannot) await expect(planned).rejects.toThrow("BACKEND_UNSUPPORTED");
      else await planned;
    });

    it.runIf(firewall.backend().capabilities.leases)(
      "lets go by itself after its lease when it is killed, and `clear` takes out what is left",
      async () => {
        const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
        const flow = blocked.started.held[0]!;
        const killed = await command("--lease", "3s");
        expect(await stands(lab.a, flow)).toBe(true);
        killed.kill("SIGKILL");
        await flows(blocked, flow);
        expect(await lostBy(lab.a, blocked)).toEqual([]);
        await run(process.execPath, [PROGRAM, "clear", "--all"]);
        expect(await firewall.ours()).toEqual([]);
      },
    );
  });

  describe("a device that is deleted", () => {
    it("and made again for the guest has the rules from the next look on", async () => {
      const [blocked, honest] = await Promise.all(
        [mallory, alice].map((uid) => lab.a.talk({ uid, hold: ["tcp4:22"], drain: 60_000 })),
      );
      await newFilter(noSshForMallory, { reconcileMs: 500 });
      const [{ index }] = filter!.status().interfaces as [GuestInterface];
      const events = filter!.events();
      await lab.a.unplug();
      await failure(events, "INTERFACE_NOT_FOUND");
      await lab.a.plug();
      // It may be seen before its QEMU has it open, and is then nobody's.
      await rebound(events, lab.a.tap);
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
      const same = { uid: mallory, hold: [`tcp4:22:${++lastPort}`], drain: 60_000 };
      const [blocked, twin] = await Promise.all([lab.a.talk(same), lab.b.talk(same)]);
      await newFilter(noSshForMallory, { reconcileMs: 500, interfaces: [lab.a.tap] });
      expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
      const events = filter!.events();
      await lab.a.unplug();
      await lab.b.unplug();
      await lab.b.plug(lab.a.tap);
      await flows(twin, twin.started.held[0]!);
      const { polls } = filter!.status();
      await expect.poll(() => filter!.status().polls, { timeout: 60_000 }).toBeGreaterThan(polls + 30);
      expect(await firewall.ours()).toEqual([]);
      await flows(twin, twin.started.held[0]!);
      await expect(at().a.interfaces({ names: [lab.a.tap] })).rejects.toMatchObject({ code: "INTERFACE_FOREIGN" });
      await expectNothingLost(lab.b, twin, "mallory of the other guest");
      await lab.b.unplug(lab.a.tap);
      await lab.b.plug();
      await lab.a.plug();
      // First to none: what it had was another guest's.
      expect(await event(events, "rebound")).toMatchObject({ interfaces: [] });
      await rebound(events, lab.a.tap);
      await blocked.exit("reset");
    });
  });
}

/** The command in a process of its own, as an operator runs it; by the process, since these tests hold the monitor. */
async function blockCommand({ live }: LabGuest, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [PROGRAM, "block", `qemu:pid:${live.pid}`, ...args]);
  await new Promise<void>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`xfilter ended with ${code}.`)));
    child.stdout.on("data", (text: Buffer) => text.includes(" + drop out tcp ") && resolve());
  });
  return child;
}
