// The benchmark: `npm run bench`, described in docs/performance.md. It measures and asserts nothing: figures depend on the
// machine.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { introspect } from "../lib/index.ts";
import { chooseDrgn, drgnTimes } from "./drgn/drgn.ts";
import { type BenchImage, chooseImages } from "./images.ts";
import { libraryLayers } from "./library.ts";
import { addTimes, type Measurement, measureInterleaved, summarize, type Times } from "./measure.ts";
import { buildFloor, buildNative, floorTimes, nativeTimes } from "./native.ts";
import { conditions, markdown, type Soak, soakSentence, svg, table } from "./report.ts";

// Library, core, floor and drgn take turns.
const TURNS = 4;
const RUNS_A_TURN = 50;
// Each of them is a start and two walks, and takes seconds.
const DRGN_RUNS_A_TURN = 3;

const { values: options } = parseArgs({
  options: {
    image: { type: "string", multiple: true, default: [] },
    json: { type: "boolean", default: false },
    markdown: { type: "string" },
    svg: { type: "string" },
    soak: { type: "boolean", default: false },
    drgn: { type: "string" },
    vmlinux: { type: "string" },
  },
});

const withDrgn = chooseDrgn(options.drgn, options.vmlinux);

async function measureImage({ name, path }: BenchImage): Promise<Measurement[]> {
  const guest = await introspect({ vmcore: path });
  const floor = buildFloor(path);
  let drgn = withDrgn;
  const all: Times = new Map();
  try {
    for (let turn = 0; turn < TURNS; turn++) {
      addTimes(all, nativeTimes(path, RUNS_A_TURN));
      if (floor) addTimes(all, floorTimes(floor, path, RUNS_A_TURN));
      addTimes(all, await measureInterleaved(libraryLayers(path, guest), RUNS_A_TURN));
      const byDrgn = drgn && drgnTimes(drgn, path, DRGN_RUNS_A_TURN);
      if (byDrgn) addTimes(all, byDrgn);
      else drgn = null;
    }
    const { processes, sockets } = (await guest.snapshot()).quality;
    const title = `${name} (${processes} processes, ${sockets} sockets)`;
    return [...all].map(([what, times]) => summarize(title, what, times));
  } finally {
    await guest.close();
  }
}

function soak({ name, path }: BenchImage): Soak {
  const script = join(import.meta.dirname, "soak.ts");
  const child = spawnSync(process.execPath, ["--import", "tsx", script, path], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.status !== 0) throw new Error(`the soak of ${name} ended with ${child.signal ?? child.status}`);
  return { image: name, ...(JSON.parse(child.stdout) as Omit<Soak, "image">) };
}

buildNative();
const before = conditions();
const measurements: Measurement[] = [];
const soaks: Soak[] = [];
for (const image of await chooseImages(options.image)) {
  console.error(`measuring ${image.name} …`);
  measurements.push(...(await measureImage(image)));
  if (options.soak) soaks.push(soak(image));
}
if (options.markdown) writeFileSync(options.markdown, markdown(measurements, soaks, before));
if (options.svg) writeFileSync(options.svg, svg(measurements, before));
if (options.json) {
  for (const row of [...measurements, ...soaks]) console.log(JSON.stringify(row));
} else {
  console.log([before, table(measurements), ...soaks.map(soakSentence)].join("\n\n"));
}
