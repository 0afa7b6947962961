import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, cp, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { cacheDirectory, hash, here } from "../cache.ts";
import { run } from "../command.ts";
import { DebianSuite } from "../debian-packages.ts";
import { initramfs } from "../initramfs.ts";
import { KernelTree } from "../kernel-tree.ts";

/** What the lab boots: Xen, Dom0's kernel and initramfs, and the disk with Xen's tools. */
export interface LabDisk {
  readonly xen: string;
  readonly kernel: string;
  readonly initramfs: string;
  readonly disk: string;
}

const suiteName = "bookworm";
const xenPackage = "xen-hypervisor-4.17-amd64";
/** The cloud kernel cannot be Dom0. */
const kernelPackage = "linux-image-amd64";
/** What Xen needs, and the scripts with which `xl` attaches a domain's network devices. */
const xenTools = [
  "xen-utils-4.17",
  "bash",
  "bsdutils",
  "coreutils",
  "grep",
  "hostname",
  "kmod",
  "mawk",
  "mount",
  "sed",
];
/** What the package and its tests need there. */
const ownTools = ["iproute2", "iptables", "libstdc++6", "nftables", "util-linux"];
const shell = "busybox-static";
/** What leads to the disk and the share, and the port that scripts' names come over. */
const earlyModules = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p", "virtio_console"];
/** Folders of modules that Dom0 needs later. */
const moduleFolders = [
  ...["drivers/xen", "drivers/net/xen-netback", "drivers/net/veth.ko", "lib", "crypto"],
  ...["net/802", "net/bridge", "net/ipv4", "net/ipv6", "net/llc", "net/netfilter"],
];

const sources = join(here, "xen/dom0");

function key(): string {
  const builders = ["initramfs.ts", "kernel-tree.ts", "xen/lab-disk.ts"].map((name) => join(here, name));
  const files = [...builders, join(sources, "init"), join(sources, "initramfs-init")];
  return hash([process.version, ...files.map((path) => readFileSync(path))]);
}

async function installModules(kernel: string, root: string): Promise<void> {
  const [release] = readdirSync(join(kernel, "lib/modules"));
  if (!release) throw new Error(`${kernelPackage} contains no modules`);
  const [from, to] = [join(kernel, "lib/modules", release), join(root, "lib/modules", release)];
  await mkdir(to, { recursive: true });
  for (const name of ["modules.builtin", "modules.builtin.modinfo", "modules.order"])
    await copyFile(join(from, name), join(to, name));
  for (const folder of moduleFolders)
    await cp(join(from, "kernel", folder), join(to, "kernel", folder), { recursive: true });
  await run("depmod", ["-b", root, release]);
}

async function dom0Initramfs(busybox: string, tree: KernelTree): Promise<Buffer> {
  const modules = await tree.modules(earlyModules);
  const list = modules.map(({ name }) => `/modules/${name}.ko\n`).join("");
  const none = Buffer.alloc(0);
  return initramfs([
    { path: "init", content: await readFile(join(sources, "initramfs-init")), mode: 0o755 },
    { path: "bin/busybox", content: await readFile(busybox), mode: 0o755 },
    ...["proc", "sys", "disk"].map((name) => ({ path: `${name}/.keep`, content: none, mode: 0o644 })),
    ...modules.map(({ name, content }) => ({ path: `modules/${name}.ko`, content, mode: 0o644 })),
    { path: "modules/list", content: Buffer.from(list), mode: 0o644 },
  ]);
}

/** Built unless it is in the cache, of whichever versions. The directory gets its name only when all is in it. */
export async function labDisk(log: (line: string) => void): Promise<LabDisk> {
  const root = cacheDirectory();
  const directory = join(root, `xen-lab-${key()}`);
  const at = (name: string) => join(directory, name);
  const lab = { xen: at("xen"), kernel: at("kernel"), initramfs: at("initramfs"), disk: at("disk") };
  if (existsSync(directory)) return lab;
  const suite = new DebianSuite(suiteName, join(root, ".apt", suiteName));
  log("xen: downloading Xen and Dom0");
  await suite.update();
  const work = join(root, `.building-xen-lab-${process.pid}`);
  const path = (name: string) => join(work, name);
  await rm(work, { recursive: true, force: true });
  await mkdir(path("lab"), { recursive: true });
  try {
    for (const part of await suite.kernelPackages(kernelPackage)) await suite.unpack(part, path("kernel"));
    await suite.unpack(await suite.package(xenPackage), path("xen"));
    await suite.unpack(await suite.package(shell), path("shell"));
    // No script of theirs is run, so /bin and /usr/bin stay two, and the shell, awk and iptables have no second names.
    for (const part of await suite.downloadWithDependencies([...xenTools, ...ownTools]))
      await run("dpkg-deb", ["-x", part, path("root")]);
    await symlink("bash", path("root/bin/sh"));
    await symlink("mawk", path("root/usr/bin/awk"));
    for (const name of ["iptables", "ip6tables"])
      for (const what of ["", "-restore", "-save"])
        await symlink(`${name}-nft${what}`, path(`root/usr/sbin/${name}${what}`));
    await rm(path("root/var/run"), { recursive: true, force: true });
    await symlink("/run", path("root/var/run"));
    log("xen: making Dom0's disk");
    await installModules(path("kernel"), path("root"));
    await writeFile(path("root/lab-init"), await readFile(join(sources, "init")), { mode: 0o755 });
    await mkdir(path("root/share"));
    // This machine's: the suite's own is too old. It wants no more than the addon does, libstdc++.
    await copyFile(process.execPath, path("root/usr/bin/node"));
    await writeFile(path("lab/disk"), "");
    await truncate(path("lab/disk"), 1 << 30);
    // Without checksums and a journal, which nobody needs of a disk that is used once, and emulated.
    await run("mkfs.ext4", ["-q", "-F", "-O", "^metadata_csum,^has_journal", "-d", path("root"), path("lab/disk")]);
    const tree = await KernelTree.open(path("kernel"));
    await writeFile(path("lab/initramfs"), await dom0Initramfs(path("shell/bin/busybox"), tree));
    await copyFile(tree.kernel(), path("lab/kernel"));
    const [image] = readdirSync(path("xen/boot")).filter((name) => /^xen-.*amd64\.gz$/.test(name));
    // QEMU's multiboot loader does not unpack.
    await writeFile(path("lab/xen"), gunzipSync(await readFile(path(`xen/boot/${image}`))));
    await rename(path("lab"), directory);
    return lab;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
