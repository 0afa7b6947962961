import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, guestSources, hash, here, liveSources } from "../cache.ts";
import { run } from "../command.ts";
import type { DebianPackage } from "../debian-packages.ts";
import { type BuildOptions, deriveTruth } from "../image.ts";
import type { Truth } from "../truth.ts";
import { Dom0, ScriptError } from "./dom0.ts";
import { bootFiles, configuration } from "./domain.ts";
import { labDisk } from "./lab-disk.ts";
import { type DomainRecipe, domainRecipes } from "./recipes.ts";

/** A core file of a domain, in the cache. */
export interface Core {
  readonly name: string;
  readonly directory: string;
  /** As `xl dump-core` writes it. */
  readonly core: string;
  /** The files that it started with. */
  readonly initramfs: string;
  truth(): Truth;
}

/** On a machine with much else to do, a guest may be too late for its own programs. */
const attempts = 3;
const guestSeconds = 900;
const dumpSeconds = 2400;
const marker = "file /proc/version ";

function filesBelow(directory: string, without: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath !== without)
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function key(recipe: DomainRecipe): string {
  const { varies: _, ...settings } = recipe;
  const builders = ["guest-programs.ts", "initramfs.ts", "kernel-tree.ts", "xen/domain.ts", "xen/dom0/core.sh"];
  const own = [...builders.map((name) => join(here, name)), ...filesBelow(join(here, "xen/guest"), "")];
  const files = [...own, ...filesBelow(guestSources, liveSources)];
  return hash([JSON.stringify(settings), ...files.map((path) => readFileSync(path))]);
}

function openCore(recipe: DomainRecipe): Core | null {
  const directory = join(cacheDirectory(), `${recipe.name}-${key(recipe)}`);
  if (!existsSync(directory)) return null;
  return {
    name: recipe.name,
    directory,
    core: join(directory, "memory.core"),
    initramfs: join(directory, "initramfs"),
    truth: () => JSON.parse(readFileSync(join(directory, "truth.json"), "utf8")) as Truth,
  };
}

/** Cores that are there, of the recipes as they are now. No network. */
export function presentCores(names: readonly string[] = domainRecipes.map(({ name }) => name)): Core[] {
  return names.flatMap((name) => {
    const recipe = domainRecipes.find((candidate) => candidate.name === name);
    if (!recipe) throw new RangeError(`There is no domain ${name}: ${domainRecipes.map((r) => r.name).join(", ")}`);
    return openCore(recipe) ?? [];
  });
}

/** The recorder's words, behind what the kernel said on the same console. */
function transcriptOf(console: Buffer): Buffer {
  const start = console.indexOf(`\n${marker}`);
  if (start === -1) throw new Error("The domain's console has no truth on it");
  return console.subarray(start + 1);
}

async function takeCore(dom0: Dom0, recipe: DomainRecipe, log: (line: string) => void): Promise<void> {
  const script = await readFile(join(here, "xen/dom0/core.sh"), "utf8");
  await writeFile(join(dom0.share, `${recipe.name}.cfg`), configuration(recipe));
  for (let attempt = 1; ; ++attempt) {
    try {
      await dom0.run(`NAME=${recipe.name}\nDEADLINE=${guestSeconds}\n${script}`, guestSeconds + dumpSeconds);
      return;
    } catch (error) {
      if (!(error instanceof ScriptError) || error.code !== 3 || attempt === attempts) throw error;
      log(`${recipe.name}: its guest failed, once more. ${error.message}`);
    }
  }
}

/** Builds the cores that are not there; the lab is booted once for all of them. */
export async function buildCores(names: readonly string[], options: BuildOptions): Promise<Core[]> {
  const { force, signal, log } = options;
  const wanted = domainRecipes.filter(({ name }) => names.includes(name));
  const missing = wanted.filter((recipe) => force || !openCore(recipe));
  if (missing.length > 0) {
    const work = join(cacheDirectory(), `.building-xen-${process.pid}`);
    const share = join(work, "share");
    await rm(work, { recursive: true, force: true });
    await mkdir(share, { recursive: true });
    let dom0: Dom0 | null = null;
    try {
      const disk = await labDisk(log);
      const packages = new Map<string, DebianPackage[]>();
      for (const recipe of missing) {
        log(`${recipe.name}: packing its guest`);
        packages.set(recipe.name, await bootFiles(recipe, share, join(work, recipe.name)));
      }
      log("xen: booting");
      const started = performance.now();
      const seconds = () => ((performance.now() - started) / 1000).toFixed(0);
      dom0 = await Dom0.start(disk, { share, signal });
      log(`xen: Dom0 is up after ${seconds()} s`);
      for (const recipe of missing) {
        await takeCore(dom0, recipe, log);
        log(`${recipe.name}: its core is there after ${seconds()} s`);
        await keepCore(recipe, share, work, packages.get(recipe.name) ?? []);
      }
    } finally {
      await dom0?.close();
      await rm(work, { recursive: true, force: true });
    }
  }
  return presentCores(wanted.map(({ name }) => name));
}

async function keepCore(recipe: DomainRecipe, share: string, work: string, packages: DebianPackage[]): Promise<void> {
  const image = join(work, `${recipe.name}-image`);
  await mkdir(image);
  for (const [from, to] of [
    ["core", "memory.core"],
    ["initramfs", "initramfs"],
  ])
    await rename(join(share, `${recipe.name}.${from}`), join(image, to!));
  const console = await readFile(join(share, `guest-${recipe.name}.log`));
  const transcript = transcriptOf(console);
  await writeFile(join(image, "transcript"), transcript);
  const truth = await deriveTruth(image);
  await writeFile(join(image, "console.log"), console.subarray(0, console.length - transcript.length));
  const { name, type, megabytes, vcpus, commandLine } = recipe;
  const domain = { name, type, megabytes, vcpus, commandLine, release: truth.guest.release, packages };
  await writeFile(join(image, "domain.json"), `${JSON.stringify(domain, null, 2)}\n`);
  await run("fallocate", ["--dig-holes", join(image, "memory.core")]);
  const directory = join(cacheDirectory(), `${recipe.name}-${key(recipe)}`);
  await rm(directory, { recursive: true, force: true });
  await rename(image, directory);
}
