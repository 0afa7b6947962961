// `npm run soak`: a guest that runs on. Walks while its users churn, and whether anybody gets what is another's; then polls and
// attaches while it stands still, and whether they leave anything behind. Measures and asserts nothing.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { introspect } from "../../lib/index.ts";
import { type ChurnTally, walkUnderChurn } from "../../test/live/tally.ts";
import { type LiveGuest, type LiveOptions, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { summarize } from "../measure.ts";
import { conditions } from "../report.ts";
import { allocatedBytes, memoryFile, type Resources, resourcesOf } from "./resources.ts";

const { values: options } = parseArgs({
  options: {
    guest: { type: "string", default: "linux-6.1" },
    ram: { type: "string", default: "shared-file" },
    by: { type: "string", default: "qmp" },
    walks: { type: "string", default: "10000" },
    polls: { type: "string", default: "100000" },
    attaches: { type: "string", default: "1000" },
    json: { type: "boolean", default: false },
    markdown: { type: "string" },
  },
});

/** `file` reads the RAM file as if it were an image: nothing is validated then, which is what the rest is to be compared with. */
function targetOf(live: LiveGuest, by: string): Parameters<typeof introspect>[0] {
  if (by === "qmp") return { qemu: { qmp: live.qmp } };
  if (by === "pid") return { qemu: { pid: live.pid } };
  if (by === "file" && live.memory) return { vmcore: live.memory };
  throw new RangeError("--by is qmp, pid, or with --ram shared-file, file");
}

/** Ours and QEMU's, and the bytes of the guest's shared memory. Of ours, what V8 keeps for itself is apart: ../soak.ts. */
interface Holdings {
  ours: Resources & { v8: number };
  qemu: Resources;
  memory: number | null;
}

function holdings(live: LiveGuest): Holdings {
  const file = memoryFile(live.pid);
  const { heapTotal, arrayBuffers } = process.memoryUsage();
  const ours = { ...resourcesOf("self"), v8: heapTotal + arrayBuffers };
  return { ours, qemu: resourcesOf(live.pid), memory: file ? allocatedBytes(file) : null };
}

interface Endured {
  what: string;
  times: number;
  seconds: number;
  /** Before, after a tenth of the times, at the end. */
  held: [Holdings, Holdings, Holdings];
}

async function endure(what: string, live: LiveGuest, times: number, once: () => Promise<unknown>): Promise<Endured> {
  const start = performance.now();
  const before = holdings(live);
  let early = before;
  for (let time = 1; time <= times; time++) {
    await once();
    if (time === Math.ceil(times / 10)) early = holdings(live);
    if (time % 10_000 === 0) console.error(`${what}: ${time}`);
  }
  const seconds = (performance.now() - start) / 1000;
  return { what, times, seconds, held: [before, early, holdings(live)] };
}

interface Soak {
  about: string;
  guest: string;
  ram: string;
  by: string;
  churn: ChurnTally;
  endured: Endured[];
}

const progress = ({ walks, findings, errors }: ChurnTally) => {
  if (walks % 1000 === 999) console.error(`walk ${walks + 1}: ${JSON.stringify({ findings, errors })}`);
};

async function soak(live: LiveGuest): Promise<Soak> {
  const target = targetOf(live, options.by);
  const about = conditions();
  const idle = await endure("before anything is attached", live, 0, async () => {});
  const endured = [idle];
  const attach = async () => (await introspect(target)).close();
  endured.push(await endure("attach and close", live, Number(options.attaches), attach));
  const guest = await introspect(target);
  try {
    endured.push(await endure("poll", live, Number(options.polls), () => guest.snapshot()));
    const run = { walks: Number(options.walks), seconds: Number.POSITIVE_INFINITY, atLeast: 0, progress };
    const churn = await walkUnderChurn(live, guest, run);
    return { about, guest: options.guest, ram: options.ram, by: options.by, churn, endured };
  } finally {
    await guest.close();
  }
}

const row = (cells: readonly (string | number)[]) => `| ${cells.join(" | ")} |`;
const head = (cells: readonly string[]) => [row(cells), row(cells.map((_, index) => (index === 0 ? "---" : "---:")))];
const mebibytes = (bytes: number | null) => (bytes === null ? "–" : (bytes / 2 ** 20).toFixed(1));

function markdown({ about, guest, ram, by, churn, endured }: Soak): string {
  const { median, max, upper } = summarize(guest, "walk", churn.elapsed);
  const rejected = Object.entries(churn.errors).map(([code, count]) => `${count} ${code}`);
  return [
    `# ${guest}, ${ram} memory, by ${by}`,
    "",
    `Written by \`npm run soak\`: ${about}.`,
    "",
    "## While its users churn",
    "",
    `${churn.walks} walks in ${churn.seconds.toFixed(0)} s, of ${median.toFixed(2)} ms (median; upper quartile ${upper.toFixed(2)}, ` +
      `most ${max.toFixed(2)}), while ${churn.processes} processes came. Rejected: ${rejected.join(", ") || "none"}.`,
    "",
    ...head(["what", "in all", "walks with it"]),
    ...Object.entries(churn.findings).map(([what, { total, walks }]) => row([what, total, walks])),
    ...Object.entries(churn.quality).map(([what, { total, walks }]) => row([`quality.${what}`, total, walks])),
    "",
    ...churn.examples.map((text) => `    ${text}`),
    "",
    "## While it stands still",
    "",
    "Before, after a tenth, at the end. MiB of our own without V8's heap, of that, of QEMU (resident) and of the memory file.",
    "",
    ...head(["what", "times", "s", "ours", "V8", "descriptors", "threads", "QEMU", "memory file"]),
    ...endured.map(({ what, times, seconds, held }) =>
      row([
        ...[what, times, seconds.toFixed(0)],
        ...[
          held.map(({ ours }) => mebibytes(ours.own - ours.v8)),
          held.map(({ ours }) => mebibytes(ours.v8)),
          held.map(({ ours }) => ours.descriptors),
          held.map(({ ours }) => ours.threads),
          held.map(({ qemu }) => mebibytes(qemu.resident)),
          held.map(({ memory }) => mebibytes(memory)),
        ].map((values) => values.join(", ")),
      ]),
    ),
    "",
  ].join("\n");
}

const recipe = recipes.find(({ name }) => name === options.guest);
if (!recipe) throw new RangeError(`There is no guest ${options.guest}: ${recipes.map(({ name }) => name).join(", ")}`);
const abort = new AbortController();
process.once("SIGINT", () => abort.abort(new Error("Interrupted")));
const live = await startLive(recipe, { ram: options.ram as LiveOptions["ram"], signal: abort.signal });
try {
  const result = await soak(live);
  const { elapsed: _, ...churn } = result.churn;
  if (options.markdown) writeFileSync(options.markdown, markdown(result));
  console.log(options.json ? JSON.stringify({ ...result, churn }) : markdown(result));
} finally {
  await live.close();
}
