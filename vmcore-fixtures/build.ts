import { parseArgs } from "node:util";
import { cacheDirectory, presentFixtures } from "./cache.ts";
import { committedImage, committedRecipe, packCommitted } from "./committed.ts";
import { buildImage, deriveTruth } from "./image.ts";
import { recipes } from "./recipes.ts";

const usage = `Usage: npm run fixtures -- [NAME…] [--list] [--force]

Builds memory images of real guests into the cache (${cacheDirectory()}).
Without a name: all of ${recipes.map(({ name }) => name).join(", ")}.

  --list    show what is there, build nothing
  --force   build again what is there
  --pack    make the image that is committed of the small one
  --truth   derive the truth of what is there anew from its transcript, boot nothing
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: "boolean" },
      force: { type: "boolean" },
      truth: { type: "boolean" },
      pack: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return void process.stdout.write(usage);
  const names = positionals.length > 0 ? positionals : recipes.map(({ name }) => name);
  const present = new Map(presentFixtures(names).map((fixture) => [fixture.name, fixture]));
  if (values.list) {
    for (const { name, varies } of recipes.filter((recipe) => names.includes(recipe.name)))
      process.stdout.write(`${name}\t${present.get(name)?.directory ?? "missing"}\t${varies}\n`);
    return;
  }
  if (values.truth) {
    for (const fixture of present.values()) await deriveTruth(fixture.directory);
    return;
  }
  if (values.pack) {
    const [fixture] = presentFixtures([committedRecipe]);
    if (!fixture) throw new Error(`Build ${committedRecipe} first`);
    process.stderr.write("Compressing takes a few minutes\n");
    process.stdout.write(`${committedImage}\t${await packCommitted(fixture)} bytes\n`);
    return;
  }
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort(new Error("Interrupted")));
  process.once("SIGTERM", () => abort.abort(new Error("Terminated")));
  const log = (line: string) => process.stderr.write(`${line}\n`);
  for (const recipe of recipes.filter(({ name }) => names.includes(name))) {
    abort.signal.throwIfAborted();
    const fixture = await buildImage(recipe, { force: values.force ?? false, signal: abort.signal, log });
    process.stdout.write(`${fixture.name}\t${fixture.directory}\n`);
  }
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
