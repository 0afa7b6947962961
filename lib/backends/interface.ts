import { readdir, readFile, readlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import { escapeBytes } from "./names.ts";

/** Where the kernel tells of its devices. */
const DEVICES = "/sys/class/net";

/** A guest without a device, or whose device is not here, has nothing that could be put in force. */
export async function requireInterfaces(interfaces: readonly GuestInterface[]): Promise<void> {
  const advice = "Name the guest's device on this host, a tap or vif (--interface)";
  if (interfaces.length === 0) throw new XFilterError("INTERFACE_NOT_FOUND", "No interface was given", advice);
  for (const { name } of interfaces) {
    if ((await readDevice(name)) !== null) continue;
    throw new XFilterError("INTERFACE_NOT_FOUND", `There is no interface ${escapeBytes(name, 40)}`, advice);
  }
}

export async function refuseChanged(interfaces: readonly GuestInterface[]): Promise<void> {
  const [line] = await changedInterfaces(interfaces);
  if (line === undefined) return;
  const advice =
    "Find the guest's interfaces again and open the backend with them; nothing is in force for another device";
  throw new XFilterError("INTERFACE_CHANGED", line, advice);
}

/** How the host's devices differ from a guest's interfaces as they were found, one line each; none if they are the same. */
export async function changedInterfaces(interfaces: readonly GuestInterface[]): Promise<string[]> {
  const lines = await Promise.all(interfaces.map(changedInterface));
  return lines.filter((line) => line !== null);
}

async function changedInterface({ name, index, mac }: GuestInterface): Promise<string | null> {
  const now = await readDevice(name);
  if (now === null) return `the interface ${name} is gone`;
  if (now.index !== index)
    return `the interface ${name} is another device: it has the index ${now.index}, not ${index}`;
  if (now.mac !== mac.toLowerCase())
    return `the interface ${name} is another device: it has the address ${now.mac}, not ${mac}`;
  return null;
}

/** A device of this host by its name; null if there is none. */
export async function readDevice(name: string): Promise<GuestInterface | null> {
  // A name that the kernel does not take could lead out of the folder.
  if (!/^[^/\s:]{1,15}$/.test(name) || name === "." || name === "..") return null;
  try {
    const [index, mac] = await Promise.all(
      ["ifindex", "address"].map((file) => readFile(join(DEVICES, name, file), "latin1")),
    );
    return { name, index: Number(index), mac: mac!.trim() };
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

/** ENODEV: it went while it was read. */
function isGone(error: unknown): boolean {
  return ["ENOENT", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "");
}

/** What sends by a device other than a bridge: Open vSwitch, a VLAN, a macvlan; and the bridge that it is a port of. */
export async function readUppers(name: string): Promise<{ bridge: string | null; others: readonly string[] }> {
  const folder = join(DEVICES, name);
  try {
    const entries = await readdir(folder);
    const bridge = entries.includes("brport") ? basename(await readlink(join(folder, "master"))) : null;
    const uppers = entries.flatMap((entry) => (entry.startsWith("upper_") ? [entry.slice("upper_".length)] : []));
    return { bridge, others: uppers.filter((upper) => upper !== bridge) };
  } catch (error) {
    if (!isGone(error)) throw error;
    // Or it left its bridge, which the next look will show.
    const what = `The interface ${escapeBytes(name, 40)} went away while it was looked at`;
    throw new XFilterError("INTERFACE_NOT_FOUND", what, "Try again", { cause: error });
  }
}
