import { XFilterError } from "../errors.ts";
import type { GuestInterface } from "../guest-interface.ts";
import { type NetworkDescriptors, networkDescriptors, networkNamespaceOf } from "./descriptors.ts";
import { type HostLink, hostLinks } from "./host-links.ts";
import { parseInfoNetwork, type QemuNetwork } from "./info-network.ts";

/** A network device of the host that a guest's packets go through, and what was found out about it. */
export interface HostInterface extends GuestInterface {
  /** The bridge or the like that it is a port of; null when it is none. */
  readonly master: string | null;
  /** Link-layer address of the guest's card behind it, as QEMU's monitor or xenstore tells it; null when that is not known. */
  readonly guestMac: string | null;
  /**
   * Whether the guest's QEMU has it open, or Xen has it for the guest's domain: it is nobody else's. False: it is the guest's because
   * the user says so.
   */
  readonly open: boolean;
}

/** @internal */
export const NAME_THEM = "Name the guest's devices on this machine (--interface)";

/** What netfilter never sees the guest's packets at, by what made it, and where it does. */
const UNSEEN_KINDS: Readonly<Record<string, string>> = {
  loopback: "no guest's packets go through it",
  macvtap: "its packets go past netfilter",
  ipvtap: "its packets go past netfilter",
  bridge: "what its ports exchange goes past it: name the guest's port",
  openvswitch: "what its ports exchange goes past it: name the guest's port",
};

/**
 * @internal
 * The devices of a QEMU's guest, by the process's tap descriptors. `infoNetwork` is what its monitor says to that, where
 * there is one. Rejects with INTERFACE_NOT_FOUND, INTERFACE_UNSEEN, SOURCE_NOT_FOUND, SOURCE_PERMISSION, TOOL_NOT_FOUND.
 */
export async function qemuInterfaces(pid: number, infoNetwork?: string): Promise<HostInterface[]> {
  const [descriptors, ours, theirs] = await Promise.all([
    networkDescriptors(pid),
    networkNamespaceOf("self"),
    networkNamespaceOf(pid),
  ]);
  const networks = infoNetwork === undefined ? [] : parseInfoNetwork(infoNetwork);
  requireSeen(descriptors, networks);
  const names = [...new Set(descriptors.taps.values())].sort();
  if (names.length === 0) {
    throw new XFilterError("INTERFACE_NOT_FOUND", `process ${pid} has no tap device open`, NAME_THEM);
  }
  if (ours !== theirs) {
    const what = `process ${pid} is in another network namespace (${theirs}) than this one (${ours})`;
    throw new XFilterError(
      "INTERFACE_NOT_FOUND",
      what,
      `Run this there (nsenter --net=/proc/${pid}/ns/net), or, if its devices are here after all, name them (--interface)`,
    );
  }
  const links = await hostLinks();
  return names.map((name) => {
    const link = links.get(name);
    if (link?.kind === "tun") return toInterface(link, true, macBehind(name, descriptors, networks));
    const what = `process ${pid} has the tap ${JSON.stringify(name)} open, which is not in this network namespace`;
    throw new XFilterError("INTERFACE_NOT_FOUND", what, `Run this in the device's own; else: ${NAME_THEM}`);
  });
}

/** A part of the guest's packets that nobody sees would be a hole in every rule. */
function requireSeen({ unseen }: NetworkDescriptors, networks: readonly QemuNetwork[]): void {
  const others = networks.filter(({ type }) => type !== "tap").map(({ type }) => `QEMU's network "${type}"`);
  const found = [...new Set([...unseen, ...others])];
  if (found.length === 0) return;
  throw unseenError(
    `the guest's packets go by ${found.join(", ")}, which the host's netfilter never sees`,
    "Give the guest a tap device instead; to filter its other devices only, name those (--interface)",
  );
}

/** @internal Throws INTERFACE_UNSEEN for a device at which netfilter does not see a guest's packets. */
export function toInterface(link: HostLink, open: boolean, guestMac: string | null = null): HostInterface {
  const { name, index, mac, kind, master } = link;
  const why = kind !== null && Object.hasOwn(UNSEEN_KINDS, kind) ? UNSEEN_KINDS[kind] : undefined;
  if (why !== undefined) throw unseenError(`${JSON.stringify(name)} is a ${kind} device: ${why}`, NAME_THEM);
  if (mac === null) throw unseenError(`${JSON.stringify(name)} is no Ethernet device`, NAME_THEM);
  return { name, index, mac, master, guestMac, open };
}

/** QEMU says a tap by its name or by its descriptor. */
function macBehind(name: string, { taps }: NetworkDescriptors, networks: readonly QemuNetwork[]): string | null {
  const isIt = ({ ifname, fd }: QemuNetwork) => ifname === name || (fd !== null && taps.get(fd) === name);
  return networks.find(isIt)?.mac ?? null;
}

/** @internal */
export function unseenError(what: string, advice: string): XFilterError {
  return new XFilterError("INTERFACE_UNSEEN", what, advice);
}
