import { cacheDirectory } from "../cache.ts";
import { runFixtureCommand } from "../fixture-command.ts";
import { deriveTruth } from "../image.ts";
import { committedCore, packCore } from "./committed.ts";
import { buildCores, presentCores } from "./cores.ts";
import { committedDomain, domainRecipes, usualDomains } from "./recipes.ts";

const usual = usualDomains.map(({ name }) => name);

async function pack(): Promise<void> {
  const [core] = presentCores([committedDomain]);
  if (!core) throw new Error(`Build ${committedDomain} first`);
  process.stderr.write("Compressing takes a few minutes\n");
  process.stdout.write(`${committedCore}\t${await packCore(core)} bytes\n`);
}

runFixtureCommand({
  usage: `Usage: npm run fixtures:xen -- [NAME…] [--list | --force | --pack | --truth]

Boots Xen and its Dom0, starts domains there and takes their cores into the cache (${cacheDirectory()}).
Domains: ${domainRecipes.map(({ name }) => name).join(", ")}.
Without a name: ${usual.join(", ")}.

  --list    show what is there, build nothing
  --force   build again what is there
  --pack    make the core that is committed of ${committedDomain}
  --truth   derive the truth of what is there anew from its transcript, boot nothing
`,
  recipes: domainRecipes,
  usual,
  present: presentCores,
  async *build(names, options) {
    yield* await buildCores(names, options);
  },
  others: {
    pack,
    async truth(names) {
      for (const { directory } of presentCores(names)) await deriveTruth(directory);
    },
  },
});
