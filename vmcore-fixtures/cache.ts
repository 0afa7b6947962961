import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Recipe, recipes } from "./recipes.ts";
import type { Truth } from "./truth.ts";

/** A complete image in the cache. */
export interface Fixture {
  readonly name: string;
  readonly directory: string;
  /** QEMU's ELF dump and the guest's RAM as it was; `null` where the recipe does not ask for it. */
  readonly elf: string | null;
  readonly raw: string | null;
  /** The kernel's types, where they were taken out of the dumps. */
  readonly btf: string | null;
  readonly truthPath: string;
  readonly guest: FixtureGuest;
  truth(): Truth;
}

/** guest.json */
export interface FixtureGuest {
  readonly name: string;
  readonly sources: string;
  readonly release: string;
  readonly packages: readonly { name: string; version: string; source: string }[];
  readonly memory: string;
  readonly cpu: string;
  readonly commandLine: string;
  readonly vmcoreinfo: boolean;
  readonly bootSeconds: number;
  readonly freezeMilliseconds: number;
}

export const here = fileURLToPath(new URL(".", import.meta.url));
export const guestSources = join(here, "guest");
/** What runs only in live guests: no image depends on it. */
export const liveSources = join(guestSources, "live");

export function cacheDirectory(): string {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return process.env.XFILTER_FIXTURES || join(base, "xfilter-core", "fixtures");
}

export function hash(parts: readonly (string | Buffer)[]): string {
  const sum = createHash("sha256");
  for (const part of parts) sum.update(`${part.length}:`).update(part);
  return sum.digest("hex").slice(0, 16);
}

/** What an image depends on, apart from the kernel: the recipe, the guest's programs, and how it is booted. */
export function sourcesHash(recipe: Recipe): string {
  const builders = ["guest-programs.ts", "initramfs.ts", "kernel-tree.ts", "qemu.ts", "scrub.ts"].map((name) =>
    join(here, name),
  );
  const guest = readdirSync(guestSources, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath !== liveSources)
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  const { varies: _, ...settings } = recipe;
  return hash([JSON.stringify(settings), ...[...builders, ...guest].map((path) => readFileSync(path))]);
}

export function fixtureKey(sources: string, packages: FixtureGuest["packages"]): string {
  return hash([sources, ...packages.map(({ name, version }) => `${name}=${version}`)]);
}

/** The image in a directory of the cache, or `null`: a directory is renamed into place only when it is complete. */
export function openFixture(directory: string): Fixture | null {
  const path = (name: string) => join(directory, name);
  const present = (name: string) => (existsSync(path(name)) ? path(name) : null);
  if (!existsSync(path("guest.json"))) return null;
  const guest = JSON.parse(readFileSync(path("guest.json"), "utf8")) as FixtureGuest;
  return {
    name: guest.name,
    directory,
    elf: present("memory.elf"),
    raw: present("memory.raw"),
    btf: present("types.btf"),
    truthPath: path("truth.json"),
    guest,
    truth: () => JSON.parse(readFileSync(path("truth.json"), "utf8")) as Truth,
  };
}

/** Images present for these recipes as they are now, of whichever kernel version: the newest of each. No network. */
export function presentFixtures(names: readonly string[] = recipes.map(({ name }) => name)): Fixture[] {
  const root = cacheDirectory();
  if (!existsSync(root)) return [];
  const directories = readdirSync(root)
    .filter((name) => !name.startsWith("."))
    .map((name) => join(root, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  return names.flatMap((name) => {
    const recipe = recipes.find((candidate) => candidate.name === name);
    if (!recipe) throw new RangeError(`There is no fixture ${name}: ${recipes.map((r) => r.name).join(", ")}`);
    const sources = sourcesHash(recipe);
    for (const directory of directories) {
      const fixture = openFixture(directory);
      if (fixture?.name === name && fixture.guest.sources === sources) return [fixture];
    }
    return [];
  });
}
