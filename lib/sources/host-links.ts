import { askIp } from "./ip.ts";

/** @internal A network device of this process's network namespace. */
export interface HostLink {
  readonly name: string;
  readonly index: number;
  /** Null where it has no Ethernet address. */
  readonly mac: string | null;
  /** What made it: tun, bridge, macvtap, … ; loopback; null for cards. */
  readonly kind: string | null;
  /** The bridge or the like that it is a port of. */
  readonly master: string | null;
  /** What a card hangs on: pci, usb, virtio, xen-backend, …; null for others. */
  readonly bus: string | null;
  /** What it is on there, as the kernel calls it: 0000:03:00.0, vif-7-0; null for others, and where the kernel does not tell. */
  readonly device: string | null;
  /** Which port of its card it is, as the driver calls it: p0, pf0vf1, …; null where it tells none. */
  readonly port: string | null;
}

/** @internal All of them, by name. Rejects as `askIp` does. */
export async function hostLinks(): Promise<Map<string, HostLink>> {
  return toLinks(await askIp("-details", "link", "show"));
}

/** @internal The names of the devices by which this machine's own packets go to the world. Rejects as `askIp` does. */
export async function uplinks(): Promise<Set<string>> {
  const families = await Promise.all(["-4", "-6"].map((family) => askIp(family, "route", "show", "default")));
  return new Set(families.flatMap(toDevices));
}

/** @internal */
export function toLinks(answer: unknown): Map<string, HostLink> {
  const links = new Map<string, HostLink>();
  for (const link of answer as Partial<IpLink>[]) {
    const { ifname: name, ifindex: index, address, link_type: type, linkinfo, master = null } = link;
    const { parentbus: bus = null, parentdev: device = null, phys_port_name: port = null } = link;
    if (name === undefined || index === undefined) continue;
    const mac = type === "ether" && address !== undefined ? address : null;
    const kind = type === "loopback" ? type : (linkinfo?.info_kind ?? null);
    links.set(name, { name, index, mac, kind, master, bus, device, port });
  }
  return links;
}

/** @internal Of routes, also those with several ways. */
export function toDevices(answer: unknown): string[] {
  const routes = answer as Partial<IpRoute>[];
  return routes
    .flatMap(({ dev, nexthops = [] }) => [dev, ...nexthops.map((hop) => hop.dev)])
    .filter((dev) => dev) as string[];
}

/** What `ip -json` prints, as far as it is used here. */
interface IpLink {
  ifname: string;
  ifindex: number;
  address: string;
  link_type: string;
  linkinfo: { info_kind?: string };
  master: string;
  parentbus: string;
  parentdev: string;
  phys_port_name: string;
}

interface IpRoute {
  dev: string;
  nexthops: { dev?: string }[];
}
