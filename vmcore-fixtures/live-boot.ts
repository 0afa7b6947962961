import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory, guestSources, hash, here, liveSources, sourcesHash } from "./cache.ts";
import { run } from "./command.ts";
import { DebianSuite } from "./debian-packages.ts";
import { foreignPrograms, packGuest } from "./guest-programs.ts";
import { type InitramfsFile, initramfs } from "./initramfs.ts";
import { KernelTree } from "./kernel-tree.ts";
import { modulesOf, programPackagesOf, type Recipe } from "./recipes.ts";

/** What a live guest boots. */
export interface LiveBoot {
  readonly kernel: string;
  readonly initramfs: string;
}

const programs = {
  agent: ["live/agent.c", "live/load.c", "guest.c", "network.c", "sockets.c"],
  churn: ["live/churn.c", "live/user.c", "live/long_lived.c", "guest.c", "sockets.c"],
};
const labPrograms = {
  lab: [
    "live/lab.c",
    "live/lab_talk.c",
    "live/lab_serve.c",
    "live/lab_container.c",
    "live/lab_web.c",
    "guest.c",
    "network.c",
    "sockets.c",
  ],
  workload: ["live/lab_quiet.c", "guest.c"],
};
/** What the guest runs on: the modules of the devices that it has there, and what is its first process. */
const grounds = {
  qemu: { devices: ["virtio_blk", "virtio_net", "virtio_balloon"], first: [] },
  xen: { devices: ["xen_netfront"], first: [{ name: "console", source: "../xen/guest/console.c" }] },
} as const;
const labModules = ["veth", "ip_tables", "iptable_nat", "xt_MASQUERADE"];

/** What runs in a live guest from its start: the workload of the recipe's images, or the lab's, which takes up no poses. */
export type LiveWorkload = "poses" | "lab";

export type Ground = keyof typeof grounds;

function key(recipe: Recipe, ground: Ground): string {
  const own = readdirSync(liveSources).sort();
  const first = grounds[ground].first.map(({ source }) => join(guestSources, source));
  const files = [join(here, "live-boot.ts"), ...own.map((name) => join(liveSources, name)), ...first];
  return hash([sourcesHash(recipe), ...files.map((path) => readFileSync(path))]);
}

/**
 * The programs of a frozen guest, with the agent in the recorder's place: init starts that when the workload stands still. The recorder
 * is the agent's to start then.
 */
async function liveFiles(compiled: string, workload: LiveWorkload, ground: Ground): Promise<InitramfsFile[]> {
  const file = async (path: string, name: string) => ({
    path,
    content: await readFile(join(compiled, name)),
    mode: 0o755,
  });
  const isLab = workload === "lab";
  for (const [name, sources] of Object.entries(isLab ? { ...programs, ...labPrograms } : programs))
    await compileForGuest(sources, join(compiled, name));
  const { first } = grounds[ground];
  for (const { name, source } of first) await compileForGuest([source], join(compiled, name));
  return Promise.all([
    ...first.map(({ name }) => file(name, name)),
    file("init", "init"),
    file("workload", "workload"),
    file("idle", "idle"),
    file("record", "agent"),
    file("live/record", "record"),
    file("live/churn", "churn"),
    ...(isLab ? [file("live/lab", "lab")] : []),
  ]);
}

async function compileForGuest(sources: readonly string[], output: string): Promise<void> {
  const paths = sources.map((source) => join(guestSources, source));
  await run("gcc", ["-static", "-O1", "-s", "-Wall", "-Wextra", "-Werror", "-o", output, ...paths]);
}

/** The lab's program, which runs outside of the guest as well. */
export async function compileLab(output: string): Promise<void> {
  await compileForGuest(labPrograms.lab, output);
}

/**
 * The kernel and the initramfs for a recipe's live guest, built unless they are in the cache, of whichever kernel version.
 * The directory gets its name only when both are in it.
 */
export async function liveBoot(recipe: Recipe, workload: LiveWorkload, ground: Ground = "qemu"): Promise<LiveBoot> {
  const root = cacheDirectory();
  const name = `${ground === "xen" ? "xen-" : ""}${recipe.name}${workload === "lab" ? "-lab" : ""}`;
  const directory = join(root, `live-${name}-${key(recipe, ground)}`);
  const boot = { kernel: join(directory, "kernel"), initramfs: join(directory, "initramfs") };
  if (existsSync(directory)) return boot;
  const suite = new DebianSuite(recipe.suite, join(root, ".apt", recipe.suite));
  await suite.update();
  const work = join(root, `.building-live-${name}-${process.pid}`);
  const path = (name: string) => join(work, name);
  await rm(work, { recursive: true, force: true });
  await mkdir(path("boot"), { recursive: true });
  try {
    for (const part of await suite.kernelPackages(recipe.kernelPackage)) await suite.unpack(part, path("kernel"));
    for (const name of programPackagesOf(recipe)) await suite.unpack(await suite.package(name), path("programs"));
    const tree = await KernelTree.open(path("kernel"));
    const { devices } = grounds[ground];
    const modules = await tree.modules([...modulesOf(recipe), ...devices, ...(workload === "lab" ? labModules : [])]);
    const foreign = programPackagesOf(recipe).length > 0 ? await foreignPrograms(path("programs")) : [];
    await packGuest(modules, recipe.workload, foreign, path("guest"));
    const files = [
      ...foreign,
      ...(await liveFiles(path("guest"), workload, ground)),
      ...modules.map(({ name, content }) => ({ path: `modules/${name}.ko`, content, mode: 0o644 })),
      {
        path: "modules/list",
        content: Buffer.from(modules.map(({ name }) => `/modules/${name}.ko\n`).join("")),
        mode: 0o644,
      },
    ];
    await writeFile(path("boot/initramfs"), initramfs(files));
    await copyFile(tree.kernel(), path("boot/kernel"));
    await rm(directory, { recursive: true, force: true });
    await rename(path("boot"), directory);
    return boot;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
