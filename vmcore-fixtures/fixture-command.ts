import { parseArgs } from "node:util";
import type { BuildOptions } from "./image.ts";

/** What is built of a recipe and lies in the cache. */
interface Built {
  readonly name: string;
  readonly directory: string;
}

export interface FixtureCommand {
  readonly usage: string;
  readonly recipes: readonly { readonly name: string; readonly varies: string }[];
  /** Names of what is built without a name. */
  readonly usual: readonly string[];
  /** Of these names what is there. */
  present(names: readonly string[]): readonly Built[];
  build(names: readonly string[], options: BuildOptions): AsyncIterable<Built>;
  /** What else can be done, as options, with what is there of the names that were given. */
  readonly others: Readonly<Record<string, (names: readonly string[]) => Promise<void>>>;
}

const show = ({ name, directory }: Built) => process.stdout.write(`${name}\t${directory}\n`);

async function run(command: FixtureCommand): Promise<void> {
  const flags = ["list", "force", "help", ...Object.keys(command.others)];
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: Object.fromEntries(flags.map((flag) => [flag, { type: "boolean" as const }])),
  });
  if (values.help) return void process.stdout.write(command.usage);
  const all = command.recipes.map(({ name }) => name);
  const names = positionals.length > 0 ? positionals : all;
  if (values.list) {
    const present = new Map(command.present(names).map((built) => [built.name, built.directory]));
    for (const { name, varies } of command.recipes.filter((recipe) => names.includes(recipe.name)))
      process.stdout.write(`${name}\t${present.get(name) ?? "missing"}\t${varies}\n`);
    return;
  }
  for (const [flag, work] of Object.entries(command.others)) if (values[flag]) return await work(names);
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort(new Error("Interrupted")));
  process.once("SIGTERM", () => abort.abort(new Error("Terminated")));
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const wanted = positionals.length > 0 ? positionals : command.usual;
  command.present(wanted); // throws at a name that there is not
  const options = { force: values.force === true, signal: abort.signal, log };
  for await (const built of command.build(wanted, options)) show(built);
}

/** What `npm run fixtures` and `npm run fixtures:xen` do with their arguments. */
export function runFixtureCommand(command: FixtureCommand): void {
  run(command).catch((error: Error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
}
