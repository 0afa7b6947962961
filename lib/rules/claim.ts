import type { Owner } from "../socket.ts";
import type { AddressBook, Flow } from "./flow.ts";
import type { Matcher, PortRange } from "./matcher.ts";
import { contains, formatNetwork, isAddress, type Network } from "./network.ts";
import type { FlowPattern } from "./pattern.ts";
import type { Direction } from "./rule.ts";

/** @internal A rule that matches a socket, or matched it before. */
export interface Verdict {
  readonly rule: Matcher;
  readonly owner: Owner | null;
  /** It matched in an earlier plan, and does not any more. */
  readonly sticks: boolean;
}

/** @internal A flow that rules have something to say of. */
export interface Claim {
  readonly flow: Flow;
  /** In the rules' order, at least one. */
  readonly verdicts: readonly Verdict[];
}

/** @internal What a verdict asks for at one end of the guest. */
export interface Demand {
  readonly verdict: Verdict;
  readonly remote: FlowPattern["remote"];
  /** `remote.address`. */
  readonly network: Network | null;
}

/** @internal Whether a rule for which a pattern stands keeps packets or logs them, rather than let them go. */
export function bites({ verdict }: Demand): boolean {
  return verdict.rule.action !== "accept";
}

/** @internal The rule that decides the packets of a connected socket that go this way. */
export function decide({ flow, verdicts }: Claim, direction: Direction, addresses: AddressBook): Verdict | undefined {
  const { local, remote } = flow;
  return verdicts.find(
    ({ rule }) =>
      rule.goes(direction) &&
      meets(rule.localPorts, local.port) &&
      meets(rule.remotePorts, remote!.port) &&
      (rule.remoteNetworks === null || addresses.within(remote!.address, rule.remoteNetworks)) &&
      (rule.localNetworks === null || (local.address !== null && addresses.within(local.address, rule.localNetworks))),
  );
}

/**
 * @internal What the rules ask of a socket that is not connected, in their order, of the packets of one IP version that go one
 * way and have `local` as the guest's end: null of a socket that is bound to no address, the rules that name one left aside.
 */
export function demands(
  { flow, verdicts }: Claim,
  family: 4 | 6,
  local: string | null,
  direction: Direction,
  addresses: AddressBook,
): Demand[] {
  const found: Demand[] = [];
  for (const verdict of verdicts) {
    const { rule } = verdict;
    if (!rule.goes(direction) || !meets(rule.localPorts, flow.local.port)) continue;
    if (rule.localNetworks && !isFor(rule.localNetworks, family, local, addresses)) continue;
    const networks = rule.remoteNetworks ?? [null];
    for (const network of networks) {
      if (network && network.family !== family) continue;
      for (const ports of rule.remotePorts ?? [null]) {
        const address = network === null ? null : formatNetwork(network);
        found.push({ verdict, network, remote: { address, ports } });
      }
    }
    // Nothing is left for the rules behind it.
    if (rule.remoteNetworks === null && rule.remotePorts === null) break;
  }
  return found;
}

/** All addresses of an IP version are also those of a socket that is bound to none. */
function isFor(networks: readonly Network[], family: 4 | 6, local: string | null, addresses: AddressBook): boolean {
  if (local !== null) return addresses.within(local, networks);
  return networks.some((network) => network.family === family && network.length === 0);
}

/** @internal Addresses that the rules name for a socket that is bound to none; networks as far as the guest's own are known. */
export function namedAddresses({ flow, verdicts }: Claim, own: readonly Network[] | null): [Network[], Verdict[]] {
  const named: Network[] = [];
  const unknown: Verdict[] = [];
  for (const verdict of verdicts) {
    if (!meets(verdict.rule.localPorts, flow.local.port)) continue;
    for (const network of verdict.rule.localNetworks ?? []) {
      if (!flow.families.includes(network.family) || network.length === 0) continue;
      if (isAddress(network)) named.push(network);
      else if (own) named.push(...own.filter((address) => contains(network, address)));
      else unknown.push(verdict);
    }
  }
  return [named, unknown];
}

function meets(ranges: readonly PortRange[] | null, port: number): boolean {
  return ranges === null || ranges.some(([from, to]) => from <= port && port <= to);
}
