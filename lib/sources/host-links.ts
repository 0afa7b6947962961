import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { XFilterError } from "../errors.ts";

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
}

const MAX_BYTES = 64 << 20;
const TIMEOUT_MS = 10_000;

/**
 * @internal
 * All of them, by name. By `ip`, as /sys/class/net shows those of whoever mounted /sys, which `nsenter --net` does not
 * change. Rejects with TOOL_NOT_FOUND; INTERNAL where `ip` fails.
 */
export async function hostLinks(): Promise<Map<string, HostLink>> {
  let stdout: string;
  try {
    const options = { maxBuffer: MAX_BYTES, timeout: TIMEOUT_MS };
    ({ stdout } = await promisify(execFile)("ip", ["-details", "-json", "link", "show"], options));
  } catch (cause) {
    const { syscall, code } = cause as NodeJS.ErrnoException;
    if (syscall?.startsWith("spawn") && code === "ENOENT") {
      const what = "ip, which tells this machine's network devices, is not installed";
      throw new XFilterError("TOOL_NOT_FOUND", what, "Install it (Debian's package iproute2)", { cause });
    }
    throw cause;
  }
  return parseLinks(stdout);
}

/** @internal */
export function parseLinks(json: string): Map<string, HostLink> {
  const links = new Map<string, HostLink>();
  for (const link of JSON.parse(json) as Partial<IpLink>[]) {
    const { ifname: name, ifindex: index, address, link_type: type, linkinfo, master = null } = link;
    if (name === undefined || index === undefined) continue;
    const mac = type === "ether" && address !== undefined ? address : null;
    const kind = type === "loopback" ? type : (linkinfo?.info_kind ?? null);
    links.set(name, { name, index, mac, kind, master });
  }
  return links;
}

/** What `ip -json` prints, as far as it is used here. */
interface IpLink {
  ifname: string;
  ifindex: number;
  address: string;
  link_type: string;
  linkinfo: { info_kind?: string };
  master: string;
}
