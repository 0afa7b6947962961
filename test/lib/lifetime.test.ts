import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const root = join(import.meta.dirname, "../..");
let image: string;

beforeAll(async () => {
  ({ image } = await unpack());
});

/** How a Node process, with these options of Node, ends that runs this program, in which `lib`, `addon` and `image` are paths. */
function run(program: string, options: readonly string[] = []) {
  const paths = { lib: join(root, "dist/index.cjs"), addon: join(root, "build/Release/xfilter-core.node"), image };
  const constants = Object.entries(paths).map(([name, path]) => `const ${name} = ${JSON.stringify(path)};`);
  const all = `${constants.join("\n")}\n(async () => {${program}})();`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...options, "-e", all], {
    encoding: "utf8",
    timeout: 60_000,
    // What is resident is then what is kept, more than what the allocator keeps for each thread.
    env: { ...process.env, MALLOC_ARENA_MAX: "1" },
  });
  return { status, signal, stdout, stderr };
}

describe("a process that used the addon", () => {
  it("still dies of a SIGBUS of its own when the worker that loaded the addon has ended", () => {
    const { signal } = run(`
      const { Worker } = require("node:worker_threads");
      const work = "const { introspect } = require(" + JSON.stringify(lib) + ");" +
        "introspect(require('node:worker_threads').workerData).then((guest) => guest.close());";
      const worker = new Worker(work, { eval: true, workerData: image });
      await new Promise((resolve) => worker.once("exit", resolve));
      process.kill(process.pid, "SIGBUS");
      setTimeout(() => {}, 5000);`);
    expect(signal).toBe("SIGBUS");
  });
  it("keeps nothing of walks and guests that are done with", () => {
    const { status, stdout, stderr } = run(
      `
      const { readFileSync } = require("node:fs");
      const { introspect } = require(lib);
      // Collected garbage apart, and V8's room for more of it.
      const resident = async () => {
        for (let i = 0; i < 3; i++) {
          gc();
          await new Promise(setImmediate);
        }
        return 1024 * Number(/RssAnon:\\s*(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
      };
      const growth = async (times, work) => {
        for (let i = 0; i < times / 4; i++) await work();
        const before = await resident();
        for (let i = 0; i < times; i++) await work();
        return ((await resident()) - before) / times;
      };
      const guest = await introspect(image);
      const before = process.memoryUsage().arrayBuffers;
      const kept = await guest.snapshot();
      const snapshotBytes = process.memoryUsage().arrayBuffers - before;
      const perWalk = await growth(1000, () => guest.snapshot());
      const perAttach = await growth(40, async () => (await introspect(image)).close());
      console.log(JSON.stringify({ snapshotBytes, perWalk, perAttach, sockets: kept.sockets.length }));
      await guest.close();`,
      ["--expose-gc", "--max-semi-space-size=1"],
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { snapshotBytes, perWalk, perAttach } = JSON.parse(stdout) as Record<string, number>;
    expect(perWalk).toBeLessThan(snapshotBytes! / 4);
    // Of the types alone an attach holds megabytes.
    expect(perAttach).toBeLessThan(2 ** 20);
  }, 60_000);
  it("lets go of a guest's image when the guest is closed, though a watch of it is still there", () => {
    const { stdout, stderr } = run(`
      const { readFileSync } = require("node:fs");
      const maps = () => readFileSync("/proc/self/maps", "utf8").includes(image);
      const guest = await require(lib).introspect(image);
      const watch = guest.watch();
      await watch.next();
      const before = maps();
      await guest.close();
      // The thread of the last walk may be about to let go.
      for (let i = 0; maps() && i < 100; i++) await new Promise((resolve) => setTimeout(resolve, 10));
      console.log(before, maps());
      await watch.next().catch((error) => console.log(error.code));`);
    expect(stdout, stderr).toBe("true false\nCLOSED\n");
  });
  it("gets a rejection, never silence, when its result cannot be made", () => {
    const { stdout } = run(`
      const guest = await require(lib).introspect(image);
      Object.defineProperty(Object.prototype, "otherSockets", { set() { throw new Error("No room"); } });
      await guest.snapshot().catch((error) => console.log(error.message));`);
    expect(stdout).toContain("No room.");
  });
  it("gets OUT_OF_MEMORY when no thread can be started, and may try again", () => {
    const { stdout, stderr } = run(`
      const { execFileSync } = require("node:child_process");
      const { readFileSync } = require("node:fs");
      const { attach } = require(addon);
      const limit = (bytes) => execFileSync("prlimit", ["--pid", String(process.pid), "--as=" + bytes + ":unlimited"]);
      const used = 1024 * Number(/VmSize:\\s*(\\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]);
      limit(used + 4 * 1024 * 1024);
      const failed = await attach({ path: image, budgetMs: 60_000 }).promise.catch((error) => error);
      limit("unlimited");
      const guest = await attach({ path: image, budgetMs: 60_000 }).promise;
      console.log(failed.code, failed.message, guest.kernel.architecture);`);
    expect(stdout, stderr).toMatch(/^OUT_OF_MEMORY No thread could be started: .* x86_64$/m);
  });
});
