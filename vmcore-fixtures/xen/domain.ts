import { copyFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, here } from "../cache.ts";
import { run } from "../command.ts";
import { type DebianPackage, DebianSuite } from "../debian-packages.ts";
import { packGuest } from "../guest-programs.ts";
import { KernelTree } from "../kernel-tree.ts";
import { modulesOf, recipes } from "../recipes.ts";
import type { DomainRecipe } from "./recipes.ts";

/** Puts into the share what the domain boots: the images' guest, whose recorder speaks to the console. */
export async function bootFiles(recipe: DomainRecipe, share: string, work: string): Promise<DebianPackage[]> {
  const suite = new DebianSuite(recipe.suite, join(cacheDirectory(), ".apt", recipe.suite));
  await mkdir(work);
  await suite.update();
  const packages = await suite.kernelPackages(recipe.kernelPackage);
  for (const part of packages) await suite.unpack(part, join(work, "kernel"));
  const tree = await KernelTree.open(join(work, "kernel"));
  const [standard] = recipes;
  const modules = await tree.modules(modulesOf(standard!));
  const console = join(work, "console");
  await run("gcc", [
    "-static",
    "-O1",
    "-s",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-o",
    console,
    join(here, "xen/guest/console.c"),
  ]);
  const first = { path: "console", content: await readFile(console), mode: 0o755 };
  await copyFile(
    await packGuest(modules, "standard", [first], join(work, "guest")),
    join(share, `${recipe.name}.initramfs`),
  );
  await copyFile(tree.kernel(), join(share, `${recipe.name}.kernel`));
  return packages;
}

/** For `xl create`. */
export function configuration({ name, type, megabytes, vcpus, commandLine }: DomainRecipe): string {
  const extra = `console=hvc0 panic=-1 net.ifnames=0 rdinit=/console ${commandLine}`.trim();
  return [
    `name = "${name}"`,
    `type = "${type}"`,
    `kernel = "/share/${name}.kernel"`,
    `ramdisk = "/share/${name}.initramfs"`,
    `extra = "${extra}"`,
    `memory = ${megabytes}`,
    `vcpus = ${vcpus}`,
    'on_crash = "preserve"',
    'on_reboot = "preserve"',
    // Emulated, the clock of such a domain stands still otherwise.
    ...(type === "pvh" ? ['tsc_mode = "native"'] : []),
    "",
  ].join("\n");
}
