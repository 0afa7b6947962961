import { cacheDirectory, presentFixtures } from "./cache.ts";
import { committedImage, committedRecipe, packCommitted } from "./committed.ts";
import { runFixtureCommand } from "./fixture-command.ts";
import { buildImage, deriveTruth } from "./image.ts";
import { recipes } from "./recipes.ts";

const all = recipes.map(({ name }) => name);

async function pack(): Promise<void> {
  const [fixture] = presentFixtures([committedRecipe]);
  if (!fixture) throw new Error(`Build ${committedRecipe} first`);
  process.stderr.write("Compressing takes a few minutes\n");
  process.stdout.write(`${committedImage}\t${await packCommitted(fixture)} bytes\n`);
}

runFixtureCommand({
  usage: `Usage: npm run fixtures -- [NAME…] [--list | --force | --pack | --truth]

Builds memory images of real guests into the cache (${cacheDirectory()}).
Without a name: all of ${all.join(", ")}.

  --list    show what is there, build nothing
  --force   build again what is there
  --pack    make the image that is committed of the small one
  --truth   derive the truth of what is there anew from its transcript, boot nothing
`,
  recipes,
  usual: all,
  present: presentFixtures,
  async *build(names, options) {
    for (const recipe of recipes.filter(({ name }) => names.includes(name))) {
      options.signal.throwIfAborted();
      yield await buildImage(recipe, options);
    }
  },
  others: {
    pack,
    async truth(names) {
      for (const { directory } of presentFixtures(names)) await deriveTruth(directory);
    },
  },
});
