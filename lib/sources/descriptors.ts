import { readdir, readFile, readlink } from "node:fs/promises";
import { XFilterError } from "../errors.ts";

/** @internal What the descriptors of a QEMU tell of its guest's network. */
export interface NetworkDescriptors {
  /** Name of the tap at each descriptor that has one. */
  readonly taps: ReadonlyMap<number, string>;
  /** Devices whose packets the host's netfilter never sees, in words. */
  readonly unseen: readonly string[];
}

/** @internal Rejects with SOURCE_NOT_FOUND or SOURCE_PERMISSION. */
export async function networkDescriptors(pid: number): Promise<NetworkDescriptors> {
  const taps = new Map<number, string>();
  const unseen: string[] = [];
  for (const fd of await orExplain(pid, readdir(`/proc/${pid}/fd`))) {
    // Descriptors come and go.
    const path = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "");
    if (!path.startsWith("/dev/")) continue;
    const tap = tapOfFdinfo(await readFile(`/proc/${pid}/fdinfo/${fd}`, "utf8").catch(() => ""));
    if (tap !== null) taps.set(Number(fd), tap);
    const found = await unseenDevice(path);
    if (found !== null && !unseen.includes(found)) unseen.push(found);
  }
  return { taps, unseen };
}

/** @internal The device that a descriptor of /dev/net/tun is attached to; null for any other. */
export function tapOfFdinfo(text: string): string | null {
  return /^iff:\t(.+)$/m.exec(text)?.[1] ?? null;
}

async function unseenDevice(path: string): Promise<string | null> {
  if (/^\/dev\/tap\d+$/.test(path)) return `a macvtap device (${path})`;
  if (/^\/dev\/vhost-vdpa-\d+$/.test(path)) return `a vDPA device (${path})`;
  const [, group] = /^\/dev\/vfio\/(\d+)$/.exec(path) ?? [];
  const [, device] = /^\/dev\/vfio\/devices\/(vfio\d+)$/.exec(path) ?? [];
  const isCard =
    (group !== undefined && (await hasNetworkCard(`/sys/kernel/iommu_groups/${group}/devices`))) ||
    (device !== undefined && (await isNetworkCard(`/sys/class/vfio-dev/${device}/device`)));
  return isCard ? `a card that was passed through to the guest (${path})` : null;
}

async function hasNetworkCard(folder: string): Promise<boolean> {
  const devices = await readdir(folder).catch(() => []);
  return (await Promise.all(devices.map((device) => isNetworkCard(`${folder}/${device}`)))).includes(true);
}

/** @internal By the PCI class code of a device in sysfs: 0x02 are network controllers. */
export async function isNetworkCard(device: string): Promise<boolean> {
  return (await readFile(`${device}/class`, "utf8").catch(() => "")).startsWith("0x02");
}

/** @internal The network namespace that a process is in; "self": this one. Rejects as `networkDescriptors` does. */
export function networkNamespaceOf(pid: number | "self"): Promise<string> {
  return orExplain(pid, readlink(`/proc/${pid}/ns/net`));
}

async function orExplain<T>(pid: number | "self", work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") {
      const what = `the operating system refuses to show the descriptors of process ${pid}`;
      throw new XFilterError("SOURCE_PERMISSION", what, "Run as root", { cause });
    }
    throw new XFilterError(
      "SOURCE_NOT_FOUND",
      `there is no process ${pid}`,
      "Give the process id of a QEMU that runs",
      {
        cause,
      },
    );
  }
}
