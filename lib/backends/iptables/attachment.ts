import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { XFilterError } from "../../errors.ts";
import type { GuestInterface } from "../../guest-interface.ts";
import { contains, parseNetwork } from "../../rules/network.ts";
import { readUppers } from "../interface.ts";
import { escapeBytes } from "../names.ts";
import type { Attachment } from "./frame.ts";

/** How the guest's packets come to iptables. */
export interface Reach {
  readonly attachments: readonly Attachment[];
  /** Why what enters the guest cannot be caught; null if it can. */
  readonly blind: XFilterError | null;
}

const OTHERWISE = "Use the backend nftables, which needs no more than the device";
const LINK_LOCAL = parseNetwork("fe80::/10")!;

/**
 * Finds out how the guest's devices are attached.
 *
 * @throws XFilterError: BACKEND_UNSUPPORTED where iptables does not see what leaves the guest
 */
export async function reach(interfaces: readonly GuestInterface[]): Promise<Reach> {
  const attachments: Attachment[] = [];
  let blind: XFilterError | null = null;
  for (const { name } of interfaces) {
    requirePlain(name);
    const { bridge, others } = await readUppers(name);
    const [other] = others;
    if (other !== undefined) {
      const what = `iptables does not see by the name ${name} what passes between it and ${escapeBytes(other, 40)}`;
      throw unsupported(what, OTHERWISE);
    }
    if (bridge !== null) {
      await requireShown(name, bridge);
      blind ??= await hostBehind(name, bridge);
    }
    attachments.push({ name, bridged: bridge !== null });
  }
  return { attachments, blind };
}

/** Others would be words of a rule, or, with a plus at the end, more than one device. */
function requirePlain(name: string): void {
  if (/^\w[\w.@=-]{0,14}$/.test(name)) return;
  throw unsupported(`iptables cannot name the interface ${escapeBytes(name, 40)} alone`, "Give it another name");
}

/** Never switched on by us: it concerns each bridge of the host, and whatever rules there are. */
async function requireShown(name: string, bridge: string): Promise<void> {
  for (const tables of ["iptables", "ip6tables"]) {
    const files = [
      `/proc/sys/net/bridge/bridge-nf-call-${tables}`,
      `/sys/class/net/${bridge}/bridge/nf_call_${tables}`,
    ];
    const read = await Promise.all(files.map((file) => readFile(file, "latin1").catch(() => null)));
    const [all, one] = read.map((text) => text !== null && text.trim() !== "0");
    // Without br_netfilter a bridge has the setting, too, and it means nothing.
    if (read[0] !== null && (all || one)) continue;
    const shown = read[0] === null ? "br_netfilter is not loaded" : `bridge-nf-call-${tables} is 0`;
    throw unsupported(
      `${name} is a port of the bridge ${bridge}, whose packets ${tables} does not see: ${shown}`,
      `${OTHERWISE}. Or load br_netfilter and set net.bridge.bridge-nf-call-iptables and -ip6tables to 1, if all that is in iptables may hold for bridged packets, too`,
    );
  }
}

/** What the host sends or routes into a bridge has no port yet when iptables sees it. */
async function hostBehind(name: string, bridge: string): Promise<XFilterError | null> {
  // By a label, one of its addresses has another name: "br0:1".
  const named = Object.entries(networkInterfaces()).filter(([label]) => label.split(":")[0] === bridge);
  const addresses = named.flatMap(([, own = []]) => own.map(({ address }) => address));
  const [address] = addresses.filter((text) => !isLinkLocal(text));
  const [other] = (await readUppers(bridge)).others;
  const by = address ?? other;
  if (by === undefined) return null;
  const what = `What this host itself sends or routes to ${name} by the bridge ${bridge} (${escapeBytes(by, 60)}) cannot be told from what it sends to the bridge's other ports`;
  return unsupported(what, `Use rules with the direction out. Or: ${OTHERWISE}`);
}

/** Each bridge has one, by which nobody reaches a guest but who means to. */
function isLinkLocal(address: string): boolean {
  const network = parseNetwork(address.replace(/%.*/, ""));
  return network !== undefined && contains(LINK_LOCAL, network);
}

function unsupported(what: string, advice: string): XFilterError {
  return new XFilterError("BACKEND_UNSUPPORTED", what, advice);
}
