import { readdir, readlink } from "node:fs/promises";
import { invalidOption, XFilterError } from "../errors.ts";
import { networkDescriptors, networkNamespaceOf } from "./descriptors.ts";
import { type HostLink, hostLinks, uplinks } from "./host-links.ts";
import { type HostInterface, NAME_THEM, toInterface } from "./interfaces.ts";

/** What the machine itself puts on top of its cards. */
const ON_CARDS: readonly string[] = ["bond", "team", "vlan"];
/** Where a card is not one: a Xen guest's, of which the host has the other end. */
const GUESTS_BUSES: readonly string[] = ["xen-backend"];
/** The host's end of a part of a card that was passed through to a guest. */
const REPRESENTOR = /^(?:c\d+)?pf\d+(?:vf|sf)\d+$/;

/** @internal Throws TypeError ERR_INVALID_OPTION unless it is undefined or a list of names. */
export function checkNames(names: readonly string[] | undefined): void {
  if (names === undefined || (Array.isArray(names) && names.every((name) => typeof name === "string"))) return;
  throw invalidOption("names is not a list of names of network devices");
}

/** @internal What can be told of whose a device is. */
export interface Holdings {
  /** Whether it is this guest's, and nobody else's. `links` are all that there are. */
  has(link: HostLink, links: ReadonlyMap<string, HostLink>): boolean;
  /** Why one that is not known to be this guest's is another's; null if that is not known either. */
  another(link: HostLink): Promise<string | null>;
}

/**
 * @internal
 * Devices that the user names, each once, for a guest that runs, or an image. That he says so is enough, unless what can be known says
 * otherwise. Rejects with INTERFACE_NOT_FOUND, INTERFACE_UNSEEN, INTERFACE_FOREIGN, TOOL_NOT_FOUND, SOURCE_PERMISSION.
 */
export async function namedInterfaces(names: readonly string[], holdings: Holdings | null): Promise<HostInterface[]> {
  const links = await hostLinks();
  const found = [...new Set(names)].map((name) => {
    const link = links.get(name);
    if (link) return { link, device: toInterface(link, holdings?.has(link, links) ?? false) };
    const what = `there is no network device ${JSON.stringify(name)} in this network namespace`;
    throw new XFilterError("INTERFACE_NOT_FOUND", what, "`ip link` shows what there is");
  });
  const unproven = found.filter(({ device }) => !device.open).map(({ link }) => link);
  if (unproven.length > 0) await refuseForeign(unproven, holdings);
  return found.map(({ device }) => device);
}

async function refuseForeign(links: readonly HostLink[], holdings: Holdings | null): Promise<void> {
  const ways = await uplinks();
  for (const link of links) {
    const why = ownedByHost(link, ways) ?? (holdings && (await holdings.another(link)));
    if (why !== null) throw new XFilterError("INTERFACE_FOREIGN", `${JSON.stringify(link.name)} ${why}`, NAME_THEM);
  }
}

/** @internal Why a device is the machine's own, if it is: what rules say of a guest would hit all that it sends and gets. */
export function ownedByHost({ name, kind, bus, port }: HostLink, ways: ReadonlySet<string>): string | null {
  if (ways.has(name)) return "is this machine's own way to the world (its default route)";
  if (kind !== null && ON_CARDS.includes(kind)) return `is this machine's own (${kind})`;
  const isCard = bus !== null && !GUESTS_BUSES.includes(bus) && !REPRESENTOR.test(port ?? "");
  return isCard ? `is a card of this machine (${bus})` : null;
}

/** @internal The taps that a QEMU has open. Rejects with SOURCE_NOT_FOUND, SOURCE_PERMISSION. */
export async function qemuHoldings(pid: number): Promise<Holdings> {
  const taps = await openTaps(pid);
  return {
    has: ({ kind, name }) => kind === "tun" && taps.has(name),
    another: async ({ kind, name }) => (kind === "tun" ? otherGuests(name, pid) : null),
  };
}

/** Other processes of the same program are other guests. */
async function otherGuests(tap: string, pid: number): Promise<string | null> {
  const program = await readlink(`/proc/${pid}/exe`);
  for (const name of await readdir("/proc")) {
    const other = Number(name);
    // Processes come and go.
    const isOther = other > 0 && other !== pid && (await readlink(`/proc/${other}/exe`).catch(() => "")) === program;
    if (isOther && (await openTaps(other).catch(() => new Set<string>())).has(tap)) {
      return `is another guest's: process ${other} has it open`;
    }
  }
  return null;
}

/** The names of the taps that a process has open, if it is in this network namespace: elsewhere they are names of other devices. */
async function openTaps(pid: number): Promise<Set<string>> {
  const [ours, theirs] = await Promise.all([networkNamespaceOf("self"), networkNamespaceOf(pid)]);
  return ours === theirs ? new Set((await networkDescriptors(pid)).taps.values()) : new Set();
}
