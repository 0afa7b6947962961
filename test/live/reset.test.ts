import { once } from "node:events";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Difference, introspect } from "../../lib/index.ts";
import { type LiveGuest, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { differencesFromTruth } from "./truth.ts";

let live: LiveGuest;
const abort = new AbortController();

beforeAll(async () => {
  // Of its 96 MiB, a boot under load leaves too little to record the truth twice: the kernel then kills the recorder.
  const recipe = { ...recipes.find(({ name }) => name === "linux-6.1-small")!, memory: "160M" };
  live = await startLive(recipe, { ram: "private", signal: abort.signal });
});
afterAll(async () => {
  await live?.close();
  abort.abort();
});

it("a guest that is reset is watched on from its boot on, and by its monitor's word not read as it stood", async () => {
  const guest = await introspect({ qemu: { pid: live.pid } });
  const told = await introspect({ qemu: { qmp: live.qmp } });
  const before = guest.kernel.kaslrOffset;
  const seen: Difference[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const difference of guest.watch({ intervalMs: 50, signal: stop.signal })) seen.push(difference);
  })();
  const ended = expect(watching).rejects.toBe("enough");
  await expect.poll(() => seen.length, { timeout: 30_000 }).toBeGreaterThan(0);
  const { booted } = await live.reset();
  // Nothing is overwritten yet; what this waits for is the next kernel and its first process.
  await told.snapshot();
  expect(told.kernel.kaslrOffset).not.toBe(before);
  await expect.poll(() => seen.some(({ reattached }) => reattached), { timeout: 60_000 }).toBe(true);
  await booted;
  stop.abort("enough");
  await ended;
  for (const each of [guest, told]) {
    expect(await differencesFromTruth(live, each)).toEqual([]);
    expect(each.kernel.kaslrOffset).not.toBe(before);
    await each.close();
  }
});

it("a guest that shuts down with its QEMU is gone", async () => {
  const guest = await introspect({ qemu: { qmp: live.qmp } });
  const gone = once(live.qemu, "close");
  await live.monitor.execute("quit");
  await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  await gone;
  await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  await guest.close();
});
