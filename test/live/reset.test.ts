import { afterAll, beforeAll, expect, it } from "vitest";
import { type Difference, introspect } from "../../lib/index.ts";
import { type LiveGuest, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";

let live: LiveGuest;
const abort = new AbortController();

beforeAll(async () => {
  const recipe = recipes.find(({ name }) => name === "linux-6.1-small")!;
  live = await startLive(recipe, { ram: "private", signal: abort.signal });
});
afterAll(async () => {
  await live?.close();
  abort.abort();
});

it("a guest that is reset is watched on, from its boot on", async () => {
  const guest = await introspect({ qemu: { pid: live.pid } });
  const before = guest.kernel.kaslrOffset;
  const seen: Difference[] = [];
  const stop = new AbortController();
  const watching = (async () => {
    for await (const difference of guest.watch({ intervalMs: 50, signal: stop.signal })) seen.push(difference);
  })();
  const ended = expect(watching).rejects.toBe("enough");
  await expect.poll(() => seen.length, { timeout: 30_000 }).toBeGreaterThan(0);
  await live.reset();
  await expect.poll(() => seen.some(({ reattached }) => reattached), { timeout: 60_000 }).toBe(true);
  const pids = async () => (await guest.snapshot()).processes.toArray().map(({ pid }) => pid);
  const truth = await live.truth();
  await expect.poll(pids, { timeout: 30_000 }).toEqual(expect.arrayContaining(truth.processes.map(({ pid }) => pid)));
  expect(guest.kernel.kaslrOffset).not.toBe(before);
  stop.abort("enough");
  await ended;
  await guest.close();
});
