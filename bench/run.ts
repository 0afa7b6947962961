// The benchmark: `npm run bench [-- --json]`. It measures and asserts nothing: figures depend on the machine.
// Images: every one that `npm run fixtures` has built, else the one that comes with the repository.
import { parseArgs } from "node:util";
import { introspect } from "../lib/index.ts";
import { presentFixtures } from "../vmcore-fixtures/cache.ts";
import { unpack } from "../vmcore-fixtures/unpack.ts";
import { type Measurement, measure, timed } from "./measure.ts";

const ATTACH_RUNS = 15;
const WALK_RUNS = 500;

const { values: options } = parseArgs({ options: { json: { type: "boolean", default: false } } });

async function images(): Promise<{ name: string; path: string }[]> {
  const built = presentFixtures().flatMap(({ name, elf, raw }) => [
    ...(elf ? [{ name: `${name} elf`, path: elf }] : []),
    ...(raw ? [{ name: `${name} raw`, path: raw }] : []),
  ]);
  if (built.length > 0) return built;
  console.error("No built images (npm run fixtures): measuring the committed one.");
  return [{ name: "committed elf", path: (await unpack()).image }];
}

async function measureImage(name: string, vmcore: string): Promise<Measurement[]> {
  const guest = await introspect({ vmcore });
  try {
    const found = guest.kernel.steps.find(({ name }) => name === "kernel")?.how.includes("note") ? "note" : "scan";
    const attach = () => timed(async () => (await introspect({ vmcore })).close());
    let snapshot = await guest.snapshot();
    const { processes, sockets } = snapshot.quality;
    const size = `${processes} processes, ${sockets} sockets`;
    return [
      await measure(name, `attach, kernel found by ${found}`, ATTACH_RUNS, attach),
      await measure(name, `walk, native (${size})`, WALK_RUNS, async () => {
        snapshot = await guest.snapshot();
        return snapshot.quality.elapsedNs / 1e6;
      }),
      await measure(name, "snapshot, as JavaScript waits for it", WALK_RUNS, () => timed(() => guest.snapshot())),
      await measure(name, "iterate all sockets with owners", WALK_RUNS / 5, async () => {
        const fresh = await guest.snapshot();
        return timed(() => fresh.sockets.toArray().map((socket) => socket.toJSON()));
      }),
    ];
  } finally {
    await guest.close();
  }
}

const measurements: Measurement[] = [];
for (const { name, path } of await images()) {
  if (!options.json) console.error(`measuring ${name} …`);
  measurements.push(...(await measureImage(name, path)));
}
if (options.json) {
  for (const measurement of measurements) console.log(JSON.stringify(measurement));
} else {
  const ms = (value: number) => value.toFixed(3).padStart(10);
  console.log(
    `${"image".padEnd(20)} ${"what".padEnd(52)} ${"median ms".padStart(10)} ${"min".padStart(10)} ${"max".padStart(10)}`,
  );
  for (const { image, what, median, min, max } of measurements) {
    console.log(`${image.padEnd(20)} ${what.padEnd(52)} ${ms(median)} ${ms(min)} ${ms(max)}`);
  }
}
