import { afterEach, beforeEach, expect, it } from "vitest";
import { createFilter, type Filter } from "../../../lib/filter/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { MemoryGuest } from "../../../lib/testing/memory-guest.ts";

let guest: MemoryGuest;
let backend: MemoryBackend;
let filter: Filter;

beforeEach(() => {
  guest = new MemoryGuest();
  guest.processes = [
    { pid: 101, uid: 1001 },
    { pid: 103, uid: 1003 },
  ];
  guest.flows = [
    { pid: 101, localPort: 40001, remotePort: 22 },
    { pid: 103, localPort: 40003, remotePort: 22 },
  ];
  backend = new MemoryBackend();
  filter = make();
});

afterEach(() => filter.stop());

function make(): Filter {
  const rules = ["allow tcp from any to any 22 out uid 1001", "deny tcp from any to any 22 out uid 1003"];
  return createFilter({ guest: guest.asGuest(), backend, id: "vm1", rules, intervalMs: 5, reconcileMs: 100 });
}

/** Packets of the user with this port, to port 22. */
function send(port: number, count: number): void {
  const [local, remote] = [
    { address: "10.0.0.2", port },
    { address: "198.51.100.1", port: 22 },
  ];
  for (let i = 0; i < count; i++) backend.firewall.send("vm1", { direction: "out", protocol: "tcp", local, remote });
}

const stopped = () => filter.status().packetsStopped;

it("packets that were stopped are counted, those that were let through are not", async () => {
  await filter.start();
  send(40001, 5);
  send(40003, 3);
  await expect.poll(stopped).toBe(3);
});

it("what was stopped stays counted when it goes, and when the firewall forgets it", async () => {
  await filter.start();
  send(40003, 3);
  await expect.poll(stopped).toBe(3);
  backend.held.clear();
  await expect.poll(() => backend.held.size).toBeGreaterThan(0);
  send(40003, 2);
  await expect.poll(stopped).toBe(5);
  guest.flows = [];
  await expect.poll(() => filter.status().inForce).toEqual([]);
  expect(stopped()).toBe(5);
});

it("what was stopped for another filter, which left it in force, is not counted again", async () => {
  await filter.start();
  send(40003, 3);
  await expect.poll(stopped).toBe(3);
  await filter.stop({ keep: true });
  filter = make();
  await filter.start();
  send(40003, 2);
  await expect.poll(stopped).toBeGreaterThan(0);
  expect(stopped()).toBe(2);
});

it("where nobody counts it is not known", async () => {
  backend.capabilities = { ...backend.capabilities, counters: false };
  await filter.start();
  expect(stopped()).toBe(null);
});
