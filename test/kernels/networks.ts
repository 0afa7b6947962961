import type { NetworkNamespace } from "../../lib/index.ts";
import type { Truth } from "../../vmcore-fixtures/truth.ts";

/** What the second workload binds to although it is no device's (IP_FREEBIND). */
const FREE = ["198.51.100.7", "2001:db8:ffff::7"];

/** Not of no device, nor of many hosts. 127.0.0.1 is lo's, and with it come all that begin alike. */
const isOwn = (address: string) =>
  !["0.0.0.0", "::", "255.255.255.255", ...FREE].includes(address) &&
  !/^(ff|2(2[4-9]|3\d)\.)/.test(address) &&
  (address === "127.0.0.1" || !address.startsWith("127."));

/**
 * Everything in which the network namespaces differ from what the guest's processes and sockets tell of them, one line
 * each. The fixtures' guests have no card.
 */
export function networkDifferences(truth: Truth, networks: readonly NetworkNamespace[]): string[] {
  const differences: string[] = [];
  const byInode = new Map(networks.map((network) => [network.inode, network]));
  if (byInode.size !== networks.length) differences.push("a namespace is there more than once");

  const init = truth.processes.find(({ pid }) => pid === 1)!.netns;
  for (const { inode, initial, devices } of networks) {
    if (initial !== (inode === init)) differences.push(`namespace ${inode}: initial is ${initial}`);
    const [lo] = devices ?? [];
    if (lo?.name !== "lo" || lo.index !== 1) differences.push(`namespace ${inode}: lo is ${JSON.stringify(lo)}`);
    for (const device of devices ?? [])
      if (device.physical !== false || !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(device.mac ?? ""))
        differences.push(`namespace ${inode}: ${JSON.stringify(device)}`);
  }

  const inhabited = new Set([...truth.processes, ...truth.sockets].map(({ netns }) => netns));
  for (const netns of inhabited)
    if (netns !== null && !byInode.has(netns)) differences.push(`namespace ${netns}: missing`);
  for (const { netns, local, protocol } of truth.sockets) {
    const addresses = byInode.get(netns)?.devices?.flatMap(({ addresses }) => addresses) ?? [];
    if (local && isOwn(local.address) && !addresses.includes(local.address))
      differences.push(`namespace ${netns}: nobody's is ${local.address}, which a ${protocol} socket has`);
  }
  return differences;
}
