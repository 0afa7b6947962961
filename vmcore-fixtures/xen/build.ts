import { parseArgs } from "node:util";
import { cacheDirectory } from "../cache.ts";
import { committedCore, packCore } from "./committed.ts";
import { buildCores, presentCores } from "./cores.ts";
import { committedDomain, domainRecipes, usualDomains } from "./recipes.ts";

const usage = `Usage: npm run fixtures:xen -- [NAME…] [--list] [--force]

Boots Xen and its Dom0, starts domains there and takes their cores into the cache (${cacheDirectory()}).
Domains: ${domainRecipes.map(({ name }) => name).join(", ")}.
Without a name: ${usualDomains.map(({ name }) => name).join(", ")}.

  --list    show what is there, build nothing
  --force   build again what is there
  --pack    make the core that is committed of ${committedDomain}
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: "boolean" },
      force: { type: "boolean" },
      pack: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return void process.stdout.write(usage);
  const names =
    positionals.length > 0 ? positionals : (values.list ? domainRecipes : usualDomains).map(({ name }) => name);
  const present = presentCores(names);
  if (values.list) {
    for (const { name, varies } of domainRecipes.filter((recipe) => names.includes(recipe.name))) {
      const core = present.find((candidate) => candidate.name === name);
      process.stdout.write(`${name}\t${core?.directory ?? "missing"}\t${varies}\n`);
    }
    return;
  }
  if (values.pack) {
    const [core] = presentCores([committedDomain]);
    if (!core) throw new Error(`Build ${committedDomain} first`);
    process.stderr.write("Compressing takes a few minutes\n");
    process.stdout.write(`${committedCore}\t${await packCore(core)} bytes\n`);
    return;
  }
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort(new Error("Interrupted")));
  process.once("SIGTERM", () => abort.abort(new Error("Terminated")));
  const log = (line: string) => process.stderr.write(`${line}\n`);
  for (const { name, directory } of await buildCores(names, {
    force: values.force ?? false,
    signal: abort.signal,
    log,
  }))
    process.stdout.write(`${name}\t${directory}\n`);
}

main().catch((error: Error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
