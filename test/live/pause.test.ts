import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect } from "../../lib/index.ts";
import { type LiveGuest, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";

let live: LiveGuest;
const abort = new AbortController();

beforeAll(async () => {
  const recipe = recipes.find(({ name }) => name === "linux-6.1-small")!;
  live = await startLive(recipe, { ram: "memfd", disk: true, signal: abort.signal });
});
afterAll(async () => {
  await live?.close();
  abort.abort();
});

async function running(): Promise<boolean> {
  return ((await live.monitor.execute("query-status")) as { running: boolean }).running;
}

/** Milliseconds until the guest runs. */
async function untilRunning(): Promise<number> {
  const start = performance.now();
  while (!(await running())) await new Promise((resolve) => setTimeout(resolve, 5));
  return performance.now() - start;
}

async function paused<T>(use: (guest: Guest) => Promise<T>): Promise<T> {
  const guest = await introspect({ qemu: { qmp: live.qmp } }, { consistency: "pause" });
  try {
    return await use(guest);
  } finally {
    await guest.close();
  }
}

describe("a guest that is paused for its walks", () => {
  it("stands still while it is read, and runs before and after", async () => {
    await live.command("write start");
    await paused(async (guest) => {
      const { quality, processes } = await guest.snapshot();
      expect(await running()).toBe(true);
      expect(quality.pauseMs).toBeGreaterThan(0);
      expect(quality.pauseMs).toBeGreaterThanOrEqual(quality.elapsedNs / 1e6);
      expect(processes.length).toBeGreaterThan(10);
      expect((await guest.watch().next()).value!.quality!.pauseMs).toBeGreaterThan(0);
    });
    await live.command("write stop");
  });
  it("stays stopped when it was", async () => {
    await live.monitor.execute("stop");
    await paused(async (guest) => {
      const { quality } = await guest.snapshot();
      expect([quality.pauseMs, await running()]).toEqual([0, false]);
    });
    expect(await running()).toBe(false);
    await live.monitor.execute("cont");
  });
  it("cannot be paused by its process id", async () => {
    const attached = introspect({ qemu: { pid: live.pid } }, { consistency: "pause" });
    await expect(attached).rejects.toMatchObject({ code: "PAUSE_UNAVAILABLE" });
  });
});

describe("an agent that is killed while it pauses a guest", () => {
  /** Pauses the guest again and again, as fast as it can, once it has said so. */
  function agent(): Promise<ChildProcess> {
    const program = `
      const { introspect } = require(${JSON.stringify(join(import.meta.dirname, "../../dist/index.cjs"))});
      introspect({ qemu: { qmp: ${JSON.stringify(live.qmp)} } }, { consistency: "pause" }).then(async (guest) => {
        await guest.snapshot();
        console.log("pausing");
        for (;;) await guest.snapshot();
      });`;
    const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    return new Promise((resolve, reject) => {
      child.stdout.once("data", () => resolve(child));
      child.once("exit", (code) => reject(new Error(`The agent ended with ${code}`)));
    });
  }

  it("leaves it running", async () => {
    for (let i = 0; i < 5; i++) {
      const child = await agent();
      const gone = new Promise((resolve) => child.once("close", resolve));
      // At another moment of a pause each time.
      await new Promise((resolve) => setTimeout(resolve, 3 * i));
      child.kill("SIGKILL");
      await gone;
      await untilRunning();
      // And it stays so: nobody is left to stop it.
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await running()).toBe(true);
    }
  });
});
