import { hasSubscribers } from "node:diagnostics_channel";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as client from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { XFilterError } from "../../../lib/errors.ts";
import { createFilter, type Filter } from "../../../lib/filter/index.ts";
import { type FilterMetrics, filterMetrics, type PromClient } from "../../../lib/metrics/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { MemoryGuest } from "../../../lib/testing/memory-guest.ts";

let register: client.Registry;
let metrics: FilterMetrics;
let guest: MemoryGuest;
let backend: MemoryBackend;
let filters: Filter[];

beforeEach(() => {
  register = new client.Registry();
  metrics = filterMetrics(client, { register });
  guest = new MemoryGuest();
  guest.processes = [{ pid: 103, uid: 1003, comm: "mallory" }];
  guest.flows = [{ pid: 103, localPort: 40003, remotePort: 22 }];
  backend = new MemoryBackend();
  filters = [];
});

afterEach(async () => {
  for (const filter of filters) await filter.stop();
  metrics.close();
});

function make(id = "vm1"): Filter {
  const rules = ["deny tcp from any to any 22 out uid 1003"];
  const filter = createFilter({ guest: guest.asGuest(), backend, id, rules, intervalMs: 5, reconcileMs: 100 });
  filters.push(filter);
  return filter;
}

/** A series' value; undefined if there is none. */
async function value(name: string, labels: Record<string, string> = {}): Promise<number | undefined> {
  const text = await register.metrics();
  const wanted = [`guest="vm1"`, ...Object.entries(labels).map(([label, value]) => `${label}="${value}"`)];
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`));
  const line = lines.find((line) => wanted.every((label) => line.includes(label)));
  return line === undefined ? undefined : Number(line.split(" ").at(-1));
}

function send(): void {
  const [local, remote] = [
    { address: "10.0.0.2", port: 40003 },
    { address: "198.51.100.1", port: 22 },
  ];
  backend.firewall.send("vm1", { direction: "out", protocol: "tcp", local, remote });
}

describe("the metrics of a filter", () => {
  it("count its polls with their walks, and the calls of its backend", async () => {
    await make().start();
    await expect.poll(() => value("xfilter_polls_total")).toBeGreaterThan(2);
    const polls = await value("xfilter_polls_total");
    expect(await value("xfilter_poll_seconds_count")).toBeGreaterThanOrEqual(polls!);
    expect(await value("xfilter_walk_seconds_count")).toBeGreaterThanOrEqual(polls!);
    expect(await value("xfilter_walk_torn_total")).toBe(0);
    expect(await value("xfilter_backend_seconds_count", { method: "reconcile" })).toBe(1);
  });

  it("tell what is in force, and what was stopped when it is not any more", async () => {
    await make().start();
    expect(await value("xfilter_patterns_in_force")).toBe(1);
    expect(await value("xfilter_running")).toBe(1);
    send();
    await expect.poll(() => value("xfilter_packets_stopped_total")).toBe(1);
    send();
    await expect.poll(() => value("xfilter_packets_stopped_total")).toBe(2);
    await filters[0]!.stop();
    expect(await value("xfilter_patterns_in_force")).toBe(0);
    expect(await value("xfilter_running")).toBe(0);
    expect(await value("xfilter_packets_stopped_total")).toBe(2);
  });

  it("tell since when a guest cannot be read, and count errors by their code, and events", async () => {
    await make().start();
    expect(await value("xfilter_unreadable_seconds")).toBe(0);
    guest.failure = new XFilterError("WALK_BUDGET", "it takes too long", "");
    await expect.poll(() => value("xfilter_unreadable_seconds")).toBeGreaterThan(0);
    expect(await value("xfilter_errors_total", { code: "WALK_BUDGET" })).toBe(1);
    expect(await value("xfilter_events_total", { event: "unreadable" })).toBe(1);
  });

  it("count once what ended it, and what it could not start for", async () => {
    guest.failure = new XFilterError("SOURCE_GONE", "its QEMU has ended", "");
    await expect(make().start()).rejects.toThrow();
    expect(await value("xfilter_errors_total", { code: "SOURCE_GONE" })).toBe(1);
    expect(await value("xfilter_polls_total")).toBe(undefined);
    guest.failure = null;
    const filter = make();
    await filter.start();
    guest.failure = new XFilterError("SOURCE_GONE", "its QEMU has ended", "");
    await expect.poll(() => filter.status().running).toBe(false);
    expect(await value("xfilter_errors_total", { code: "SOURCE_GONE" })).toBe(2);
  });

  it("go on when the guest gets another filter, and end when it is forgotten", async () => {
    await make().start();
    await filters[0]!.stop();
    const polls = await value("xfilter_polls_total");
    await make().start();
    expect(await value("xfilter_polls_total")).toBeGreaterThan(polls!);
    expect(await value("xfilter_running")).toBe(1);
    await filters[1]!.stop();
    metrics.forget("vm1");
    expect(await register.metrics()).not.toMatch(/vm1/);
  });

  it("tell nothing that the guest chose, and keep guests apart whatever they are called", async () => {
    await make().start();
    await make('vm"2\n').start();
    const text = await register.metrics();
    expect(text).not.toMatch(/mallory|40003|10\.0\.0\.2/);
    expect(text).toMatch(/xfilter_running\{guest="vm\\"2\\n"\} 1/);
  });

  it("are gone from the registry when they are closed, and nothing counts any more", async () => {
    metrics.close();
    expect(await register.metrics()).toBe("\n");
    const traced = ["poll:start", "poll:asyncEnd", "backend:start", "backend:asyncEnd"];
    const channels = ["xfilter-core:filter:event", ...traced.map((name) => `tracing:xfilter-core:filter:${name}`)];
    expect(channels.filter(hasSubscribers)).toEqual([]);
    metrics = filterMetrics(client, { register });
    expect(channels.filter(hasSubscribers)).toEqual(channels);
  });
});

describe("metrics that cannot be made", () => {
  it("are refused where what is given is not prom-client", () => {
    expect(() => filterMetrics({} as PromClient)).toThrow(/import \* as client from "prom-client"/);
  });
  it("leave a registry as it was that has one of the names", async () => {
    const other = new client.Registry();
    const gauge = new client.Gauge({ name: "xfilter_running", help: "another's", registers: [other] });
    expect(() => filterMetrics(client, { register: other })).toThrow(/already/);
    expect(other.getMetricsAsArray()).toEqual([gauge]);
  });
});

it("docs/embedding.md has a row for each metric, with its labels", async () => {
  const document = readFileSync(join(import.meta.dirname, "../../../docs/embedding.md"), "utf8");
  const documented = Array.from(document.matchAll(/^\| `(xfilter_\w+)(?:\{(\w+)\})?` \|/gm), ([, name, label]) => [
    name,
    label,
  ]);
  const made = register.getMetricsAsArray().map((metric) => {
    const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] };
    return [name, labelNames[1]];
  });
  expect(documented.sort()).toEqual(made.sort());
});
