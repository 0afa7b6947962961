// What running a firewall's program costs the event loop, by how much memory is resident; described in docs/performance.md:
//   test/filter/in-namespace.sh tsx bench/filter/program.ts
// It measures and asserts nothing: figures depend on the machine.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { runNft } from "../../lib/backends/nftables/nft.ts";
import { spread } from "../measure.ts";

const MIB = 2 ** 20;
const RUNS = 100;
const { signal } = new AbortController();

const ways = {
  "by the addon": () => runNft(["-j", "list", "tables"], null, signal),
  "by Node's spawn()": async () => {
    const child = spawn("nft", ["-j", "list", "tables"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.resume();
    child.stderr.resume();
    await once(child, "close");
  },
};

const ballast: Buffer[] = [];
for (const resident of [100, 200, 500]) {
  // In pieces too small for huge pages, as V8's heap and the allocator have them.
  while (process.memoryUsage.rss() < resident * MIB) ballast.push(Buffer.alloc(MIB / 16, 1));
  for (const [way, run] of Object.entries(ways)) {
    const held: number[] = [];
    const took: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      const begun = performance.now();
      const running = run();
      held.push(performance.now() - begun);
      await running;
      took.push(performance.now() - begun);
    }
    const [holds, takes] = [spread(held), spread(took)].map(({ p50, p99 }) => `${p50.toFixed(2)} / ${p99.toFixed(2)}`);
    const mib = Math.round(process.memoryUsage.rss() / MIB);
    console.log(`${mib} MB resident, ${way}: holds the event loop ${holds} ms, takes ${takes} ms (median / 99 %)`);
  }
}
