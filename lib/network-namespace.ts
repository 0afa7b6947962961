import { formatIPv4, formatIPv6, formatMac } from "./address.ts";
import type { NativeSnapshot } from "./native.ts";
import type { StringTable } from "./strings.ts";

/**
 * A network namespace of the guest with the devices that it owns. What a socket sends leaves by a device of its own
 * namespace: where none of them is physical, the guest itself forwards it, and may rewrite its addresses on the way.
 */
export interface NetworkNamespace {
  /** Inode number, by which sockets and processes name it (`netns`); null when unknown. */
  readonly inode: number | null;
  /** Whether it is the one that the guest booted with; null when unknown. */
  readonly initial: boolean | null;
  /** In the kernel's order; null when unknown. */
  readonly devices: readonly NetworkDevice[] | null;
}

/** A network device of the guest, as the guest sees it. */
export interface NetworkDevice {
  /** Comes from the guest: escape it where you print it. */
  readonly name: string;
  /** Interface index in its namespace: a socket's `boundInterface`. */
  readonly index: number;
  /** "52:54:00:12:34:56"; null when it has none, or one of another kind. */
  readonly mac: string | null;
  /** Whether it hangs on a bus, as cards do, virtual machines' too. lo, veth, bridges, tunnels do not. null when unknown. */
  readonly physical: boolean | null;
  /** Its own addresses, IPv4 first, in the kernel's order; IPv6 in RFC 5952's form. */
  readonly addresses: readonly string[];
}

const INITIAL = 1;
const INITIAL_UNKNOWN = 2;
const DEVICES_UNKNOWN = 4;
const HAS_MAC = 1;
const PHYSICAL = 2;
const PHYSICAL_UNKNOWN = 4;

type Tables = Pick<NativeSnapshot, "networkNamespaces" | "networkDevices" | "deviceAddresses">;

/** @internal */
export function toNetworkNamespaces(tables: Tables, strings: StringTable): NetworkNamespace[] {
  const { count, inode, devicesEnd, flags } = tables.networkNamespaces;
  return Array.from({ length: count }, (_, row) => ({
    inode: inode[row]! || null,
    initial: fact(flags[row]!, INITIAL, INITIAL_UNKNOWN),
    devices: flags[row]! & DEVICES_UNKNOWN ? null : run(devicesEnd, row, (device) => toDevice(tables, strings, device)),
  }));
}

function toDevice({ networkDevices, deviceAddresses }: Tables, strings: StringTable, row: number): NetworkDevice {
  const { name, index, mac, flags, addressesEnd } = networkDevices;
  return {
    name: strings.at(name[row]!),
    index: index[row]!,
    mac: flags[row]! & HAS_MAC ? formatMac(mac, row * 6) : null,
    physical: fact(flags[row]!, PHYSICAL, PHYSICAL_UNKNOWN),
    addresses: run(addressesEnd, row, (i) => {
      const format = deviceAddresses.family[i] === 4 ? formatIPv4 : formatIPv6;
      return format(deviceAddresses.address, i * 16);
    }),
  };
}

function fact(flags: number, yes: number, unknown: number): boolean | null {
  return flags & unknown ? null : (flags & yes) !== 0;
}

/** What belongs to a row of a table whose rows say where their parts end. */
function run<T>(ends: Uint32Array, row: number, make: (part: number) => T): T[] {
  const start = ends[row - 1] ?? 0;
  return Array.from({ length: ends[row]! - start }, (_, i) => make(start + i));
}
