import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { XFilterError } from "../../../lib/errors.ts";
import { createFilter, type Filter, type FilterEvent, type FilterOptions } from "../../../lib/filter/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { memoryDevice as device, MemoryGuest } from "../../../lib/testing/memory-guest.ts";
import { pattern } from "../../backends/plan.ts";

const NO_SSH_FOR_MALLORY = "deny tcp from any to any 22 out uid 1003";

let guest: MemoryGuest;
let backend: MemoryBackend;
let filter: Filter | undefined;

beforeEach(() => {
  guest = new MemoryGuest();
  backend = new MemoryBackend();
  guest.processes = [
    { pid: 101, uid: 1001, comm: "alice" },
    { pid: 103, uid: 1003, comm: "mallory" },
  ];
  guest.flows = [
    { pid: 101, localPort: 40001, remotePort: 22 },
    { pid: 103, localPort: 40003, remotePort: 22 },
    { pid: 103, localPort: 40080, remotePort: 80 },
  ];
});

afterEach(async () => {
  await filter?.stop();
  filter = undefined;
});

async function started(options: Partial<FilterOptions> = {}): Promise<Filter> {
  filter = createFilter({
    ...{ guest: guest.asGuest(), backend, id: "vm1", rules: [NO_SSH_FOR_MALLORY], intervalMs: 5 },
    ...options,
  });
  await filter.start();
  return filter;
}

/** What is in force, as "local port → remote port". */
const inForce = () => [...backend.held.values()].map(({ local, remote }) => `${local.port} → ${remote.ports?.[0]}`);

/** Waits for an event that fits; the ones after it can be waited for then. */
async function event<T extends FilterEvent["type"]>(events: AsyncIterator<FilterEvent>, type: T) {
  for (;;) {
    const { done, value } = await events.next();
    if (done) throw new Error(`The filter ended without "${type}".`);
    if (value.type === type) return value as Extract<FilterEvent, { type: T }>;
  }
}

const polls = async (count: number) => {
  const enough = guest.snapshots + count;
  while (guest.snapshots < enough) await new Promise((resolve) => setTimeout(resolve, 2));
};

describe("a filter that starts", () => {
  it("has the rules in force when start() resolves, for nobody else", async () => {
    await started();
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("changes nothing and rejects when the guest cannot be read", async () => {
    guest.failure = new XFilterError("WALK_BUDGET", "too long", "");
    await expect(started()).rejects.toMatchObject({ code: "WALK_BUDGET" });
    expect(backend.calls).toEqual([]);
  });

  it("refuses a rule that the backend cannot hold, before anything is changed", async () => {
    const reject = started({ rules: ["reject tcp from any 22 to any in uid 1003"] });
    await expect(reject).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
    expect(backend.calls).not.toContain("reconcile");
    await filter?.stop();
    expect(backend.calls.at(-1)).toBe("close, kept");
  });

  it("drops what enters where a rule for both ways rejects what leaves", async () => {
    await started({ rules: ["reject tcp from any to any 22 uid 1003"] });
    const actions = [...backend.held.values()].map(({ direction, action }) => `${direction} ${action}`);
    expect(actions.sort()).toEqual(["in drop", "out reject"]);
  });
});

describe("a filter that cannot start", () => {
  it("refuses to hold a guest that cannot be paused, with the option's name", async () => {
    guest.pausable = false;
    await expect(started({ hold: "apply" })).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    expect(backend.calls).toEqual([]);
  });

  it("refuses a lease that would end between two polls, or of a backend that knows none", async () => {
    const lease = { onAgentDeath: { leaseMs: 1_000 } };
    await expect(started({ ...lease, intervalMs: 1_000 })).rejects.toMatchObject({ code: "ERR_INVALID_OPTION" });
    backend.capabilities = { ...backend.capabilities, leases: false };
    await expect(started(lease)).rejects.toMatchObject({ code: "BACKEND_UNSUPPORTED" });
  });

  it("leaves nothing behind when it is stopped while the firewall is at work", async () => {
    filter = createFilter({
      ...{ guest: guest.asGuest(), backend, id: "vm1", rules: [NO_SSH_FOR_MALLORY], intervalMs: 5 },
    });
    const applied = new Promise<void>((resolve) => {
      backend.after = async (signal) => {
        resolve();
        await new Promise((aborted) => signal.addEventListener("abort", aborted));
        throw signal.reason;
      };
    });
    const start = filter.start().catch((error) => error);
    await applied;
    expect(inForce()).not.toEqual([]);
    await filter.stop();
    expect(await start).toMatchObject({ code: "CLOSED" });
    expect(inForce()).toEqual([]);
  });

  it("takes out what came to be in force by a change that failed in part", async () => {
    backend.after = async () => {
      throw new XFilterError("BACKEND_FAILED", "IPv4 was changed as planned, IPv6 was not", "");
    };
    await expect(started()).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    expect(inForce()).not.toEqual([]);
    await filter!.stop();
    expect(inForce()).toEqual([]);
  });

  it("leaves what another left where its own could not be put there", async () => {
    const before = { ...pattern(), key: "before", packets: 0 };
    backend.firewall.held("vm1").set("before", before);
    backend.failures.push(new XFilterError("BACKEND_PERMISSION", "no", ""));
    await expect(started()).rejects.toMatchObject({ code: "BACKEND_PERMISSION" });
    await filter!.stop();
    expect([...backend.held.keys()]).toEqual(["before"]);
  });
});

describe("a filter that polls", () => {
  it("asks the firewall for nothing while nothing changes", async () => {
    await started();
    const before = backend.calls.length;
    await polls(20);
    expect(backend.calls.slice(before)).toEqual([]);
  });

  it("blocks a new connection, and lets go of one that is gone", async () => {
    const events = (await started()).events();
    guest.flows = [...guest.flows.slice(0, 1), { pid: 103, localPort: 40004, remotePort: 22 }];
    expect(await event(events, "cleared")).toMatchObject({ why: "gone", pattern: { local: { port: 40003 } } });
    expect(inForce()).toEqual(["40004 → 22"]);
  });

  it("says who was blocked and by which rule", async () => {
    filter = createFilter({
      ...{ guest: guest.asGuest(), backend, id: "vm1", rules: [NO_SSH_FOR_MALLORY], intervalMs: 5 },
    });
    const events = filter.events();
    await filter.start();
    expect(await event(events, "set")).toMatchObject({
      pattern: { owner: { pid: 103, comm: "mallory" }, reason: "matched" },
      rule: { action: "drop", uid: 1003 },
    });
  });

  it("keeps what happened from its start on for the first who asks, and for nobody else", async () => {
    const filter = await started();
    const [first, second] = [filter.events(), filter.events()];
    await filter.stop();
    const types = async (events: AsyncIterable<FilterEvent>) => {
      const found: string[] = [];
      for await (const { type } of events) found.push(type);
      return found;
    };
    expect([await types(first), await types(second)]).toEqual([
      ["set", "cleared", "ended"],
      ["cleared", "ended"],
    ]);
  });

  it("takes new rules from the next poll on", async () => {
    const filter = await started();
    const events = filter.events();
    filter.setRules(["deny tcp from any to any 80 out uid 1003"]);
    expect(await event(events, "cleared")).toMatchObject({ why: "rules" });
    expect(inForce()).toEqual(["40080 → 80"]);
  });

  it("gives the firewall the same patterns in the order of rules that changed places", async () => {
    const net = "deny tcp from 192.0.2.0/24 to any in uid 1003";
    const but = "allow tcp from 192.0.2.7 to any in uid 1003";
    guest.flows = [{ pid: 103, localPort: 8080, remotePort: null }];
    const filter = await started({ rules: [net, but] });
    const actions = () => [...backend.held.values()].map(({ action }) => action);
    expect(actions()).toEqual(["drop", "accept"]);
    filter.setRules([but, net]);
    await polls(3);
    expect(actions()).toEqual(["accept", "drop"]);
  });

  it("says of what stays in force by which rule and for whom it now is, and since when it was", async () => {
    const filter = await started({ rules: ["deny udp from any 5000 to any out uid 1003"] });
    guest.flows = [{ pid: 103, protocol: "udp", localPort: 5000, remotePort: null }];
    const events = filter.events();
    await event(events, "set");
    const before = filter.status().inForce[0]!;
    const asked = backend.calls.length;
    filter.setRules(["deny udp from any 5000 to any out comm nc"]);
    guest.processes = [{ pid: 104, uid: 1004, comm: "nc" }];
    guest.flows = [{ pid: 104, protocol: "udp", localPort: 5000, remotePort: null }];
    await polls(3);
    const whose = { pattern: { key: before.pattern.key, owner: { pid: 104 } }, rule: { comm: "nc" } };
    expect(filter.status().inForce).toMatchObject([{ ...whose, since: before.since }]);
    expect(backend.calls.slice(asked)).toEqual([]);
    guest.flows = [];
    expect(await event(events, "cleared")).toMatchObject(whose);
  });

  it("keeps the old rules where new ones are wrong", async () => {
    const filter = await started();
    expect(() => filter.setRules(["deny tcp from nowhere"])).toThrow(
      expect.objectContaining({ code: "ERR_INVALID_RULE" }),
    );
    await polls(2);
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("repairs what somebody else took out of the firewall, and tells it when it is done", async () => {
    const filter = await started({ reconcileMs: 100 });
    let told = false;
    const repaired = event(filter.events(), "repaired").finally(() => {
      told = true;
    });
    backend.during = async () => {
      await polls(0);
      expect(told).toBe(false);
    };
    backend.held.clear();
    expect(await repaired).toMatchObject({ problems: ["1 patterns were missing, 0 were not ours"] });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("tells of a repair that took a second try", async () => {
    const events = (await started({ reconcileMs: 100 })).events();
    backend.held.clear();
    backend.failures.push(new XFilterError("BACKEND_FAILED", "busy", ""));
    await event(events, "failed");
    await event(events, "repaired");
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("tells of what the backend itself found missing while it changed something", async () => {
    const events = (await started()).events();
    backend.held.clear();
    guest.flows = [];
    await event(events, "repaired");
  });

  it("blocks a new connection although the firewall cannot be looked at", async () => {
    const events = (await started({ reconcileMs: 100 })).events();
    backend.inspectFailure = new XFilterError("BACKEND_FAILED", "no listing", "");
    await event(events, "failed");
    guest.flows = [...guest.flows, { pid: 103, localPort: 40004, remotePort: 22 }];
    expect(await event(events, "set")).toMatchObject({ pattern: { local: { port: 40004 } } });
    expect(inForce()).toContain("40004 → 22");
  });

  it("tries again when the firewall fails", async () => {
    const events = (await started()).events();
    backend.failures.push(new XFilterError("INTERNAL", "the firewall is busy", ""));
    guest.flows = [];
    expect(await event(events, "failed")).toMatchObject({ error: { message: "The firewall is busy." } });
    await event(events, "cleared");
    expect(inForce()).toEqual([]);
  });

  it("tells of a failure once, however often it is tried again", async () => {
    const events = (await started()).events();
    const busy = new XFilterError("INTERNAL", "the firewall is busy", "");
    backend.failures.push(busy, busy, busy);
    guest.flows = [];
    const types: string[] = [];
    while (types.at(-1) !== "cleared") types.push((await events.next()).value!.type);
    expect(types.filter((type) => type === "failed")).toHaveLength(1);
  });

  it("takes no snapshot that misses somebody for another boot", async () => {
    const filter = await started({ rules: ["deny tcp from any to any 22 out pid 103"] });
    guest.missing = 2;
    await polls(3);
    guest.missing = null;
    await polls(3);
    expect(backend.calls.filter((call) => call === "open")).toHaveLength(1);
    expect(filter.status().inForce).toHaveLength(1);
  });

  it("says that what it had put there could not be taken out", async () => {
    const stopping = await started();
    filter = undefined;
    const events = stopping.events();
    backend.close = () => Promise.reject(new XFilterError("BACKEND_FAILED", "no", ""));
    await expect(stopping.stop()).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    expect(await event(events, "failed")).toMatchObject({ error: { code: "BACKEND_FAILED" } });
    expect((await events.next()).value).toMatchObject({ type: "ended" });
  });

  it("never runs two polls at once, and tells how many it left out", async () => {
    const events = (await started()).events();
    guest.takes = 40;
    expect((await event(events, "overrun")).missedPolls).toBeGreaterThan(0);
  });

  it("renews a lease although nothing changes", async () => {
    await started({ onAgentDeath: { leaseMs: 1_000 } });
    const reconciled = () => backend.calls.filter((call) => call === "reconcile").length;
    const before = reconciled();
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(reconciled()).toBeGreaterThan(before);
  });

  it("renews a lease while a guest takes long to be read, and never two at once", async () => {
    let [running, most] = [0, 0];
    backend.during = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 20));
      running--;
    };
    await started({ onAgentDeath: { leaseMs: 1_000 } });
    const reconciled = () => backend.calls.filter((call) => call === "reconcile").length;
    const before = reconciled();
    guest.takes = 900;
    while (reconciled() < before + 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(most).toBe(1);
    guest.takes = 0;
  });

  it("releases nothing because the firewall took longer than the guest may be paused", async () => {
    const events = (await started({ hold: "apply", onUnreadable: "release" })).events();
    guest.afterPause = new XFilterError("PAUSE_BUDGET", "it ran on", "");
    expect(await event(events, "failed")).toMatchObject({ error: { code: "PAUSE_BUDGET" } });
    await polls(3);
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("lets a paused guest run on only when the firewall holds the plan, if it is to", async () => {
    let order = "";
    const snapshot = guest.snapshot.bind(guest);
    guest.snapshot = async (options) => {
      const taken = await snapshot(options);
      order += " resumed";
      return taken;
    };
    backend.during = async () => {
      order += " applied";
    };
    await started({ hold: "apply" });
    guest.flows = [];
    order = "";
    while (!order.includes("applied")) await polls(1);
    expect(order).toMatch(/applied resumed/);
  });

  it("does so at the start, too, and starts where it ran on too early", async () => {
    let resumed = false;
    const snapshot = guest.snapshot.bind(guest);
    guest.snapshot = async (options) => {
      resumed = false;
      return snapshot(options).finally(() => {
        resumed = true;
      });
    };
    backend.during = async () => expect(resumed).toBe(false);
    await started({ hold: "apply" });
    expect(backend.calls).toEqual(["open", "inspect", "reconcile"]);
    await filter!.stop();
    backend.after = async () => {
      guest.afterPause = new XFilterError("PAUSE_BUDGET", "it ran on", "");
    };
    await started({ hold: "apply" });
    expect(inForce()).toEqual(["40003 → 22"]);
  });
});

describe("a guest that cannot be read", () => {
  const unreadable = new XFilterError("WALK_BUDGET", "too long", "");

  it("leaves what is in force as it is (hold)", async () => {
    const events = (await started()).events();
    guest.failure = unreadable;
    expect(await event(events, "unreadable")).toMatchObject({ applied: "hold", error: { code: "WALK_BUDGET" } });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("lets go meanwhile whom a rule names that is taken away", async () => {
    const filter = await started();
    const events = filter.events();
    guest.failure = unreadable;
    await event(events, "unreadable");
    filter.setRules([]);
    expect(await event(events, "cleared")).toMatchObject({ why: "rules", rule: { uid: 1003 } });
    expect(inForce()).toEqual([]);
  });

  it("lets go meanwhile of whom a rule names whose time is over", async () => {
    const events = (await started({ rules: [`${NO_SSH_FOR_MALLORY} for 1s`] })).events();
    guest.failure = unreadable;
    await event(events, "cleared");
    expect(inForce()).toEqual([]);
  });

  it("has new rules in force for everybody (widen)", async () => {
    const filter = await started({ onUnreadable: "widen" });
    const events = filter.events();
    guest.failure = unreadable;
    await event(events, "set");
    filter.setRules(["deny tcp from any to any 80 out uid 1003"]);
    await event(events, "cleared");
    expect(new Set(inForce())).toEqual(new Set(["null → 80"]));
  });

  it("is held no longer than it may be", async () => {
    const events = (await started({ maxHoldMs: 30 })).events();
    guest.failure = unreadable;
    await event(events, "cleared");
    expect(inForce()).toEqual([]);
  });

  it("has nothing in force (release), and everything again when it can be read", async () => {
    const events = (await started({ onUnreadable: "release" })).events();
    guest.failure = unreadable;
    expect(await event(events, "cleared")).toMatchObject({ why: "unreadable" });
    guest.failure = null;
    await event(events, "set");
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("has its rules in force for everybody (widen)", async () => {
    const events = (await started({ onUnreadable: "widen" })).events();
    await event(events, "set");
    guest.failure = unreadable;
    await event(events, "set");
    const wide = [...backend.held.values()].map(({ family, direction, local, remote }) => ({
      family,
      direction,
      local,
      remote,
    }));
    const any = { direction: "out", local: { address: null, port: null }, remote: { address: null, ports: [22, 22] } };
    expect(wide).toEqual([
      { family: 4, ...any },
      { family: 6, ...any },
    ]);
  });

  it("counts as one that cannot be read when it takes long, until it was read", async () => {
    vi.useFakeTimers();
    try {
      const events = (await started({ onUnreadable: "release" })).events();
      guest.takes = 12_000;
      const unreadable = event(events, "unreadable");
      await vi.advanceTimersByTimeAsync(9_000);
      expect(inForce()).toEqual(["40003 → 22"]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(await unreadable).toMatchObject({ applied: "release", error: { code: "SNAPSHOT_LATE" } });
      expect(inForce()).toEqual([]);
      const readable = event(events, "readable");
      guest.takes = 0;
      await vi.advanceTimersByTimeAsync(3_000);
      await readable;
      expect(inForce()).toEqual(["40003 → 22"]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("ends the filter when it is gone, and nothing is left", async () => {
    const events = (await started()).events();
    guest.failure = new XFilterError("SOURCE_GONE", "QEMU has ended", "");
    expect(await event(events, "ended")).toMatchObject({ error: { code: "SOURCE_GONE" } });
    expect(inForce()).toEqual([]);
  });
});

describe("a guest that boots anew", () => {
  it("is told of, and nothing sticks to who is somebody else now", async () => {
    const events = (await started()).events();
    guest.boot = 2n;
    guest.flows = [];
    await event(events, "booted");
    expect(await event(events, "cleared")).toMatchObject({ why: "booted" });
    expect(backend.calls.slice(-3)).toEqual(["close, kept", "open", "reconcile"]);
  });

  it("with other devices, as a domain of Xen does, is filtered at these from its first poll on", async () => {
    guest.devices = [device("vif1.0", 7)];
    const events = (await started({ reconcileMs: 3_600_000 })).events();
    guest.boot = 2n;
    guest.devices = [device("vif2.0", 9)];
    expect((await events.next()).value).toMatchObject({ type: "set" });
    expect((await events.next()).value).toMatchObject({ type: "booted" });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "vif2.0", index: 9 }] });
    expect(backend.scope!.interfaces).toMatchObject([{ name: "vif2.0" }]);
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("is looked for again soon where its new devices are not there yet, and that is told", async () => {
    guest.devices = [device("vif1.0", 7)];
    const events = (await started({ reconcileMs: 60_000 })).events();
    guest.boot = 2n;
    guest.devices = [];
    await event(events, "booted");
    expect(await event(events, "failed")).toMatchObject({ error: { code: "INTERFACE_NOT_FOUND" } });
    guest.devices = [device("vif2.0", 9)];
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "vif2.0" }] });
  });

  it("is the same that was attached to anew, restored, with other devices, which are looked for at once", async () => {
    guest.devices = [device("vif1.0", 7)];
    const events = (await started({ reconcileMs: 60_000 })).events();
    guest.devices = [device("vif2.0", 9)];
    Object.defineProperty(guest, "kernel", { value: { ...guest.kernel } });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "vif2.0" }] });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("has what is to be in force at its new devices while it has no kernel yet", async () => {
    guest.devices = [device("vif1.0", 7)];
    const events = (await started({ reconcileMs: 100 })).events();
    guest.failure = new XFilterError("KERNEL_NOT_FOUND", "it boots", "");
    guest.devices = [device("vif2.0", 9)];
    await event(events, "rebound");
    expect(backend.scope!.interfaces).toMatchObject([{ name: "vif2.0" }]);
    expect(inForce()).toEqual(["40003 → 22"]);
  });
});

describe("a guest's device", () => {
  const bound = () => backend.scope!.interfaces.map(({ name, index }) => `${name} ${index}`);
  const watched = { reconcileMs: 100 };

  it("that is made again is found at the next look, and what was in force is in force there", async () => {
    const events = (await started(watched)).events();
    guest.devices = [device("tap0", 8)];
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "tap0", index: 8 }] });
    expect(bound()).toEqual(["tap0 8"]);
    expect(filter!.status().interfaces).toMatchObject([{ index: 8 }]);
    expect(backend.calls.slice(-4)).toEqual(["close, kept", "open", "inspect", "reconcile"]);
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("that is found changed while something is to be changed is looked for at once", async () => {
    const events = (await started({ reconcileMs: 3_600_000 })).events();
    guest.devices = [device("tap0", 8)];
    backend.failures.push(new XFilterError("INTERFACE_CHANGED", "another device", ""));
    guest.flows = [];
    await event(events, "failed");
    await event(events, "rebound");
    expect(inForce()).toEqual([]);
  });

  it("that the guest gets beside the first is filtered from the next look on", async () => {
    const events = (await started(watched)).events();
    guest.devices = [device("tap0", 7), device("tap1", 9)];
    await event(events, "rebound");
    expect(bound()).toEqual(["tap0 7", "tap1 9"]);
  });

  it("is looked for again while the guest has none, and what is in force stays as it is", async () => {
    const events = (await started(watched)).events();
    guest.deviceFailure = new XFilterError("INTERFACE_NOT_FOUND", "no tap", "");
    backend.inspectFailure = new XFilterError("INTERFACE_CHANGED", "tap0 is gone", "");
    expect(await event(events, "failed")).toMatchObject({ error: { code: "INTERFACE_NOT_FOUND" } });
    expect(inForce()).toEqual(["40003 → 22"]);
    guest.deviceFailure = null;
    backend.inspectFailure = null;
    guest.devices = [device("tap0", 8)];
    await event(events, "rebound");
  });

  it("that cannot be found is told of once, however often it is looked for", async () => {
    const filter = await started(watched);
    const found = guest.interfaces.bind(guest);
    let looks = 0;
    guest.interfaces = async (options) => {
      looks++;
      if (looks <= 4) throw new XFilterError("TOOL_NOT_FOUND", "no ip", "");
      return found(options);
    };
    const events = filter.events();
    while (looks <= 4) await polls(1);
    await filter.stop();
    const types: string[] = [];
    for await (const { type } of events) types.push(type);
    expect(types.filter((type) => type === "failed")).toHaveLength(1);
  });

  it("that was named and is made again counts only where the guest's QEMU has it open", async () => {
    guest.devices = [device("tap0", 7), device("veth0", 9, false)];
    const events = (await started({ ...watched, interfaces: ["tap0", "veth0"] })).events();
    expect(bound()).toEqual(["tap0 7", "veth0 9"]);
    guest.devices = [device("tap0", 8), device("veth0", 10, false)];
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "tap0", index: 8 }] });
    expect(await event(events, "failed")).toMatchObject({ error: { code: "INTERFACE_CHANGED" } });
    expect(bound()).toEqual(["tap0 8"]);
  });

  it("that was named and is gone takes the rules from no other", async () => {
    guest.devices = [device("tap0", 7), device("tap1", 9)];
    const events = (await started({ ...watched, interfaces: ["tap0", "tap1"] })).events();
    guest.devices = [device("tap1", 9)];
    await event(events, "rebound");
    expect(bound()).toEqual(["tap1 9"]);
    expect(await event(events, "failed")).toMatchObject({ error: { code: "INTERFACE_NOT_FOUND" } });
  });

  it("that was named and cannot be looked for stays", async () => {
    guest.devices = [device("tap0", 7), device("veth0", 9, false)];
    const found = guest.interfaces.bind(guest);
    const events = (await started({ ...watched, interfaces: ["tap0", "veth0"] })).events();
    guest.interfaces = async (options) => {
      if (options?.names?.[0] === "veth0") throw new Error("spawn ip EAGAIN");
      return found(options);
    };
    expect(await event(events, "failed")).toMatchObject({ error: { message: expect.stringContaining("EAGAIN") } });
    expect(bound()).toEqual(["tap0 7", "veth0 9"]);
  });

  it("that was named, goes and comes back as itself is filtered again", async () => {
    const all = [device("tap0", 7), device("veth0", 9, false)];
    guest.devices = all;
    const events = (await started({ ...watched, interfaces: ["tap0", "veth0"] })).events();
    guest.devices = all.slice(0, 1);
    await event(events, "rebound");
    expect(bound()).toEqual(["tap0 7"]);
    guest.devices = all;
    await event(events, "rebound");
    expect(bound()).toEqual(["tap0 7", "veth0 9"]);
  });

  it.each([
    ["named", ["tap0", "tap0"]],
    ["given", [device("tap0", 7), device("tap0", 7)]],
  ])("that is %s twice is one", async (_, interfaces) => {
    await started({ ...watched, interfaces });
    expect(bound()).toEqual(["tap0 7"]);
    while (backend.calls.filter((call) => call === "inspect").length < 2) await polls(1);
    expect(backend.calls.filter((call) => call === "open")).toHaveLength(1);
  });

  it.each([
    ["no list", "tap0"],
    ["names and devices", ["tap0", device("tap1", 9)]],
    ["names and nothing", ["tap0", null]],
    ["devices without an index", [{ name: "tap0", mac: "02:00:00:00:00:07" }]],
  ])("is refused among %s", (_, interfaces) => {
    const options = { guest: guest.asGuest(), backend, id: "vm1", rules: [], interfaces: interfaces as never };
    expect(() => createFilter(options)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });

  it.each([
    ["that was named and is another guest's by now", ["tap0"]],
    ["that its QEMU has no longer open", undefined],
  ])("%s has nothing in force, until there is one again", async (_, interfaces) => {
    const events = (await started({ ...watched, ...(interfaces && { interfaces }) })).events();
    if (interfaces) guest.deviceFailure = new XFilterError("INTERFACE_FOREIGN", "another has it open", "");
    else guest.devices = [device("tap0", 7, false)];
    expect(await event(events, "cleared")).toMatchObject({ why: "device" });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [] });
    const code = interfaces ? "INTERFACE_FOREIGN" : "INTERFACE_NOT_FOUND";
    expect(await event(events, "failed")).toMatchObject({ error: { code } });
    expect([...backend.held, ...filter!.status().inForce]).toEqual([]);
    // What is wanted meanwhile is for later, of another boot, too.
    const asked = backend.calls.length;
    guest.boot = 2n;
    guest.flows = [{ pid: 103, localPort: 40004, remotePort: 22 }];
    await polls(3);
    expect([...backend.held, ...filter!.status().inForce]).toEqual([]);
    expect(backend.calls.slice(asked)).not.toContain("open");
    guest.deviceFailure = null;
    guest.devices = [device("tap0", 7)];
    expect(await event(events, "set")).toMatchObject({ pattern: { local: { port: 40004 } } });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "tap0" }] });
    expect(inForce()).toEqual(["40004 → 22"]);
  });

  it("that is another guest's by now is cleared although the firewall fails at first", async () => {
    const close = backend.close.bind(backend);
    const events = (await started({ ...watched, interfaces: ["tap0"] })).events();
    backend.close = async () => {
      backend.close = close;
      throw new XFilterError("BACKEND_FAILED", "busy", "");
    };
    guest.deviceFailure = new XFilterError("INTERFACE_FOREIGN", "another has it open", "");
    await event(events, "cleared");
    expect(inForce()).toEqual([]);
  });

  it("that is the guest's no more has nothing in force, also where the new one cannot have it", async () => {
    const { open, close } = backend;
    const events = (await started(watched)).events();
    backend.open = async (scope, options) => {
      if (scope.interfaces[0]!.name !== "tap0") throw new XFilterError("BACKEND_UNSUPPORTED", "not there", "");
      return open.call(backend, scope, options);
    };
    backend.close = async ({ keep }) => {
      if (!keep) backend.close = close;
      if (!keep) throw new XFilterError("BACKEND_FAILED", "busy", "");
      return close.call(backend, { keep });
    };
    guest.devices = [device("tap9", 9)];
    expect(await event(events, "cleared")).toMatchObject({ why: "device" });
    expect(await event(events, "failed")).toMatchObject({ error: { code: "BACKEND_FAILED" } });
    expect(await event(events, "failed")).toMatchObject({ error: { code: "BACKEND_UNSUPPORTED" } });
    expect([...backend.held, ...filter!.status().inForce]).toEqual([]);
    guest.devices = [device("tap0", 7)];
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "tap0" }] });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it.each([
    ["what is in force cannot be changed", []],
    ["it was the second of two for a while", [device("tap0", 7), device("tap9", 9)]],
  ])("that is the guest's no more has nothing in force, also where %s", async (_, meanwhile) => {
    const { open, reconcile } = backend;
    const events = (await started(watched)).events();
    const busy = async () => {
      throw new XFilterError("BACKEND_FAILED", "busy", "");
    };
    if (meanwhile.length === 0) backend.reconcile = busy;
    else {
      backend.open = busy;
      guest.devices = meanwhile;
      await event(events, "failed");
      expect(inForce()).toEqual(["40003 → 22"]);
    }
    guest.devices = [device("tap9", 9)];
    expect(await event(events, "cleared")).toMatchObject({ why: "device" });
    expect([...backend.held, ...filter!.status().inForce]).toEqual([]);
    Object.assign(backend, { open, reconcile });
    expect(await event(events, "rebound")).toMatchObject({ interfaces: [{ name: "tap9" }] });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("that was given as it is stays the only one", async () => {
    await started({ ...watched, interfaces: [device("tap0", 7)] });
    guest.devices = [device("tap0", 8)];
    while (!backend.calls.includes("inspect")) await polls(1);
    await polls(2);
    expect(bound()).toEqual(["tap0 7"]);
  });

  it("that cannot be found keeps a filter from starting", async () => {
    await expect(started({ interfaces: ["tap0", "tap9"] })).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
    expect(backend.calls).toEqual([]);
  });
});

describe("a filter that stops", () => {
  it("takes out of the firewall what it had put there", async () => {
    await (await started()).stop();
    expect(inForce()).toEqual([]);
  });

  it("does so at the end of `await using`", async () => {
    const own = await started();
    await own[Symbol.asyncDispose]();
    expect(inForce()).toEqual([]);
    expect(own.status().running).toBe(false);
  });

  it("leaves it there when it is to keep it", async () => {
    await (await started()).stop({ keep: true });
    expect(inForce()).toEqual(["40003 → 22"]);
  });

  it("ends the iteration of its events", async () => {
    const events = (await started()).events();
    await filter!.stop();
    const types: string[] = [];
    for await (const { type } of events) types.push(type);
    expect(types).toEqual(["set", "cleared", "ended"]);
  });
});

describe("with a state directory", () => {
  const directory = mkdtempSync(join(tmpdir(), "xfilter-state-"));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it("another filter goes on where the first was killed: a pid that is another process by then is not blocked", async () => {
    await started({ rules: ["deny tcp from any to any 22 out pid 103"], stateDirectory: directory });
    await filter!.stop({ keep: true });
    guest.processes = [{ pid: 103, uid: 1001, comm: "alice", later: 500n }];
    guest.flows = [{ pid: 103, localPort: 40009, remotePort: 22 }];
    await started({ rules: ["deny tcp from any to any 22 out pid 103"], stateDirectory: directory });
    expect(inForce()).toEqual([]);
  });

  it("begins anew when the one before took its rules out: a rule's time, too", async () => {
    const options = { rules: [`${NO_SSH_FOR_MALLORY} for 100ms`], stateDirectory: directory };
    const events = (await started(options)).events();
    expect(await event(events, "expired")).toMatchObject({ rule: { uid: 1003, forMs: 100 } });
    await filter!.stop();
    await started(options);
    expect(inForce()).toEqual(["40003 → 22"]);
    await filter!.stop();
    expect(readdirSync(directory)).toEqual([]);
  });

  it("takes nothing from the one that runs, when it is refused and stopped", async () => {
    const first = await started({ stateDirectory: directory });
    const before = readdirSync(directory);
    await expect(started({ stateDirectory: directory })).rejects.toMatchObject({ code: "FILTER_RUNS" });
    await filter!.stop();
    expect(readdirSync(directory)).toEqual(before);
    await first.stop();
  });

  it("remembers what was kept when another could not start", async () => {
    await (await started({ stateDirectory: directory })).stop({ keep: true });
    const kept = readdirSync(directory);
    guest.failure = new XFilterError("WALK_BUDGET", "too long", "");
    await expect(started({ stateDirectory: directory })).rejects.toMatchObject({ code: "WALK_BUDGET" });
    await filter!.stop();
    expect([readdirSync(directory), inForce()]).toEqual([kept, ["40003 → 22"]]);
  });

  it("is alone until what it was putting in force is taken out again", async () => {
    const aborted = new Promise<AbortSignal>((resolve) => {
      backend.after = async (signal) => {
        resolve(signal);
        await new Promise((abort) => signal.addEventListener("abort", abort));
        throw signal.reason;
      };
    });
    let closing = () => {};
    const close = backend.close.bind(backend);
    backend.close = async (how) => {
      await new Promise<void>((resolve) => {
        closing = resolve;
      });
      await close(how);
    };
    const start = started({ stateDirectory: directory }).catch((error) => error);
    await aborted;
    const first = filter!;
    const stopping = first.stop();
    await start;
    await expect(started({ stateDirectory: directory })).rejects.toMatchObject({ code: "FILTER_RUNS" });
    closing();
    await stopping;
  });

  it("gives up a device that is its guest's no more", async () => {
    const first = await started({ stateDirectory: directory, reconcileMs: 100 });
    const events = first.events();
    const [before] = first.status().interfaces;
    guest.devices = [device("tap9", 9)];
    await event(events, "rebound");
    const other = { guest: new MemoryGuest().asGuest(), backend: new MemoryBackend(), id: "vm2" };
    await started({ ...other, stateDirectory: directory, interfaces: [before!] });
    await first.stop();
  });

  it("is the only one for its guest, and for its devices", async () => {
    const first = await started({ stateDirectory: directory, interfaces: [device("tap0", 7)] });
    await expect(started({ stateDirectory: directory })).rejects.toMatchObject({ code: "FILTER_RUNS" });
    const other = { stateDirectory: directory, interfaces: [device("tap0", 7)], id: "by another name" };
    await expect(started(other)).rejects.toMatchObject({ code: "FILTER_RUNS" });
    expect(inForce()).toEqual(["40003 → 22"]);
    await first.stop();
    await started(other);
  });

  it.each([
    ["cannot be made", () => "/dev/null/state"],
    [
      "others may write to",
      () => {
        chmodSync(directory, 0o777);
        return directory;
      },
    ],
    [
      "is a link",
      () => {
        symlinkSync(tmpdir(), join(directory, "link"));
        return join(directory, "link");
      },
    ],
  ])("refuses one that %s", async (_, prepare) => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    await expect(started({ stateDirectory: prepare() })).rejects.toMatchObject({ code: "STATE_IO" });
  });

  it("goes on blocking when it can no longer write there, and says so", async () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const events = (await started({ stateDirectory: directory })).events();
    rmSync(directory, { recursive: true });
    guest.flows = [...guest.flows, { pid: 103, localPort: 40004, remotePort: 22 }];
    await event(events, "set");
    expect(await event(events, "set")).toMatchObject({ pattern: { local: { port: 40004 } } });
    expect(await event(events, "failed")).toMatchObject({ error: { code: "STATE_IO" } });
    expect(inForce()).toContain("40004 → 22");
  });
});
