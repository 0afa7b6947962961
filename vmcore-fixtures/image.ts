import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, type Fixture, fixtureKey, openFixture, sourcesHash } from "./cache.ts";
import { run } from "./command.ts";
import { DebianSuite } from "./debian-packages.ts";
import { foreignPrograms, packGuest } from "./guest-programs.ts";
import { KernelTree } from "./kernel-tree.ts";
import { bootAndFreeze } from "./qemu.ts";
import { modulesOf, programPackagesOf, type Recipe } from "./recipes.ts";
import { scrubBtf, scrubVmcoreinfo } from "./scrub.ts";
import { parseTranscript, type Truth } from "./truth.ts";

export interface BuildOptions {
  force: boolean;
  signal: AbortSignal;
  log: (line: string) => void;
}

/** Makes truth.json of the transcript beside it. */
export async function deriveTruth(directory: string): Promise<Truth> {
  const truth = parseTranscript(await readFile(join(directory, "transcript")));
  await writeFile(join(directory, "truth.json"), `${JSON.stringify(truth, null, 1)}\n`);
  return truth;
}

/** Builds one image, unless it is there; the directory gets its name only when everything is in it. */
export async function buildImage(recipe: Recipe, { force, signal, log }: BuildOptions): Promise<Fixture> {
  const root = cacheDirectory();
  const suite = new DebianSuite(recipe.suite, join(root, ".apt", recipe.suite));
  log(`${recipe.name}: asking ${recipe.suite} for its kernel`);
  await suite.update();
  const kernelPackages = await suite.kernelPackages(recipe.kernelPackage);
  const programPackages = await Promise.all(programPackagesOf(recipe).map((name) => suite.package(name)));
  const packages = [...kernelPackages, ...programPackages];
  const sources = sourcesHash(recipe);
  const directory = join(root, `${recipe.name}-${fixtureKey(sources, packages)}`);
  const present = openFixture(directory);
  if (present && !force) {
    log(`${recipe.name}: present, ${directory}`);
    return present;
  }

  const work = join(root, `.building-${recipe.name}-${process.pid}`);
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  try {
    for (const { name, version } of packages) log(`${recipe.name}: ${name} ${version}`);
    for (const kernelPackage of kernelPackages) await suite.unpack(kernelPackage, join(work, "kernel"));
    for (const programPackage of programPackages) await suite.unpack(programPackage, join(work, "programs"));
    signal.throwIfAborted();
    const tree = await KernelTree.open(join(work, "kernel"));
    const modules = await tree.modules(modulesOf(recipe));
    const next = recipe.after === "kexec" ? tree.kernel() : null;
    const programs = programPackages.length > 0 ? await foreignPrograms(join(work, "programs")) : [];
    const initramfs = await packGuest(modules, recipe.workload, programs, join(work, "guest"), next);
    log(`${recipe.name}: booting`);
    const image = join(work, "image");
    const frozen = await bootAndFreeze({ recipe, kernel: tree.kernel(), initramfs, directory: image, signal });
    log(`${recipe.name}: frozen after ${frozen.bootSeconds.toFixed(1)} s`);
    await writeFile(join(image, "transcript"), frozen.transcript);
    const truth = await deriveTruth(image);
    for (const dump of ["elf", "raw"] as const) {
      const path = join(image, `memory.${dump}`);
      if (!recipe.dumps.includes(dump)) {
        await rm(path, { force: true });
        continue;
      }
      if (recipe.scrubbed.includes("vmcoreinfo")) scrubVmcoreinfo(path);
      if (recipe.scrubbed.includes("btf")) await writeFile(join(image, "types.btf"), scrubBtf(path));
      await run("fallocate", ["--dig-holes", path]);
    }
    const { name, memory, cpu, commandLine, vmcoreinfo } = recipe;
    const { bootSeconds, freezeMilliseconds } = frozen;
    const guest = { name, sources, release: truth.guest.release, packages, memory, cpu, commandLine, vmcoreinfo };
    await writeFile(
      join(image, "guest.json"),
      `${JSON.stringify({ ...guest, bootSeconds, freezeMilliseconds }, null, 2)}\n`,
    );
    await rm(directory, { recursive: true, force: true });
    await rename(image, directory);
    return openFixture(directory) as Fixture;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
