import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { guestSources } from "./cache.ts";
import { run } from "./command.ts";
import { type InitramfsFile, initramfs } from "./initramfs.ts";
import type { KernelModule } from "./kernel-tree.ts";
import type { Recipe } from "./recipes.ts";

const common = ["guest.c", "network.c", "sockets.c"];
const actors = [
  "actors.c",
  "segments.c",
  "processes.c",
  "threads.c",
  "namespaces.c",
  "datagrams.c",
  "mptcp.c",
  "connections.c",
  "answers.c",
  "containers.c",
  "groups.c",
  "netlink.c",
  "senders.c",
  "unheld.c",
];
const workloads: Record<Recipe["workload"], string> = {
  standard: "workload.c",
  big: "big.c",
  second: "second/second.c",
};

/** What the second workload runs beside its own program: busybox, of whatever place it has in its package. */
export async function foreignPrograms(root: string): Promise<InitramfsFile[]> {
  const places = [join(root, "bin/busybox"), join(root, "usr/bin/busybox")];
  const busybox = places.find((path) => existsSync(path));
  if (!busybox) throw new Error("The busybox package contains no busybox");
  return [
    { path: "bin/busybox", content: await readFile(busybox), mode: 0o755 },
    { path: "services.sh", content: await readFile(join(guestSources, "second/services.sh")), mode: 0o755 },
  ];
}

/**
 * Compiles the guest's programs and packs them with the modules; returns the path of the initramfs. With `next`, a kernel,
 * the guest is to jump into that: it carries it, and the initramfs that it starts with.
 */
export async function packGuest(
  modules: readonly KernelModule[],
  workload: Recipe["workload"],
  programs: readonly InitramfsFile[],
  directory: string,
  next: string | null = null,
): Promise<string> {
  const compiled: Record<string, string[]> = {
    init: ["init.c", ...common],
    workload: [workloads[workload], ...actors, ...common],
    record: ["record.c", "answers.c", "guest.c"],
    idle: ["idle.c"],
  };
  const files: InitramfsFile[] = [...programs];
  await mkdir(directory, { recursive: true });
  for (const [name, sources] of Object.entries(compiled)) {
    const output = join(directory, name);
    const paths = sources.map((source) => join(guestSources, source));
    await run("gcc", ["-static", "-O1", "-s", "-Wall", "-Wextra", "-Werror", "-o", output, ...paths]);
    files.push({ path: name, content: await readFile(output), mode: 0o755 });
  }
  for (const { name, content } of modules) files.push({ path: `modules/${name}.ko`, content, mode: 0o644 });
  const list = modules.map(({ name }) => `/modules/${name}.ko\n`).join("");
  files.push({ path: "modules/list", content: Buffer.from(list), mode: 0o644 });
  if (next) {
    const inner = await readFile(await packGuest(modules, workload, programs, join(directory, "next")));
    files.push({ path: "next/kernel", content: await readFile(next), mode: 0o644 });
    files.push({ path: "next/initramfs", content: inner, mode: 0o644 });
  }
  const path = join(directory, "initramfs");
  await writeFile(path, initramfs(files));
  return path;
}
