import { existsSync } from "node:fs";
import { basename } from "node:path";
import { presentFixtures } from "../vmcore-fixtures/cache.ts";
import { recipes } from "../vmcore-fixtures/recipes.ts";
import { unpack } from "../vmcore-fixtures/unpack.ts";

export interface BenchImage {
  readonly name: string;
  readonly path: string;
}

/** The images to measure: those named (by recipe or by path), else all that are built, else the committed one. */
export async function chooseImages(names: readonly string[]): Promise<BenchImage[]> {
  if (names.length > 0) return names.flatMap(named);
  const built = recipes.flatMap(({ name }) => images(name));
  if (built.length > 0) return built;
  console.error("No built images (npm run fixtures): measuring the committed one.");
  return [{ name: "committed elf", path: (await unpack()).image }];
}

function named(name: string): BenchImage[] {
  if (recipes.some((recipe) => recipe.name === name)) {
    const built = images(name);
    if (built.length === 0) throw new RangeError(`${name} is not built: npm run fixtures -- ${name}`);
    return built;
  }
  if (!existsSync(name)) throw new RangeError(`${name} is neither a recipe nor a file`);
  return [{ name: basename(name), path: name }];
}

function images(recipe: string): BenchImage[] {
  return presentFixtures([recipe]).flatMap(({ name, elf, raw }) => [
    ...(elf ? [{ name: `${name} elf`, path: elf }] : []),
    ...(raw ? [{ name: `${name} raw`, path: raw }] : []),
  ]);
}
