import { DIRECTIONS } from "./ends.ts";
import { formatNetwork, isAddress, type Network, overlap, parseNetwork } from "./network.ts";
import type { FlowPattern, Plan, PlannedPattern } from "./pattern.ts";
import { flowKey, patternKey } from "./pattern-key.ts";
import type { Direction, PortMatch, Rule, RuleAction, RuleProtocol } from "./rule.ts";
import { entries } from "./text.ts";

/** Members of a rule that say which socket, rather than which packets. */
const WHO: readonly (keyof Rule)[] = [
  ...(["pid", "descendants", "uid", "processUid", "socketUid", "loginUid", "gid", "comm", "cgroup"] as const),
  ...(["netns", "state"] as const),
];
/** More local ports of one rule become all of them. */
const LOCAL_PORTS_MAX = 1_024;
const PROTOCOLS: readonly RuleProtocol[] = ["tcp", "udp", "udplite"];

/** What a rule without its who still tells of the ends, each less than the one before: it names both, the other's, or none. */
const WIDTHS = ["both", "remote", "none"] as const;
type Width = (typeof WIDTHS)[number];

/** A rule without its who, for packets of one IP version. null in a list: all. */
interface Wide {
  readonly index: number;
  readonly action: RuleAction;
  readonly addresses: readonly (string | null)[];
  readonly ports: readonly (number | null)[];
  readonly remotes: readonly (Network | null)[];
  readonly remotePorts: readonly (readonly [from: number, to: number] | null)[];
}

/**
 * The rules without their *who*, for a guest that cannot be read: they hold for everybody. What lets some people's packets go
 * falls away, since nobody can be told to be one of them. Wider than the rule where a firewall has no such pattern: a network of
 * local addresses is all addresses of its IP version, more than 1,024 local ports are all ports.
 *
 * `neverBlock`: addresses and networks that stay open. Where there are more than `maxFlows` patterns, the rules that block lose the guest's
 * end; then the other one, too, and what lets go is left out: what is left is a few patterns for each of `neverBlock`.
 */
export function widenedPlan(rules: readonly Rule[], neverBlock: readonly string[] = [], maxFlows = Infinity): Plan {
  const never = neverBlock.map((text) => parseNetwork(text)!);
  let patterns: readonly PlannedPattern[] = [];
  for (const width of WIDTHS) {
    patterns = patternsOf(rules, never, width, maxFlows);
    if (patterns.length <= maxFlows) break;
  }
  return { patterns, unenforceable: [] };
}

/** All of them, or of a width that is not the last, some more than `enough`. */
function patternsOf(rules: readonly Rule[], never: readonly Network[], width: Width, enough: number) {
  const ranks: PlannedPattern[][] = [[], [], []];
  const seen = new Set<string>();
  for (const direction of DIRECTIONS) {
    for (const family of [4, 6] as const) {
      for (const protocol of PROTOCOLS) {
        const wide = rules.flatMap((rule, index) => widen(rule, index, direction, family, protocol, width) ?? []);
        for (const [address, port] of endsOf(wide)) {
          const flow = { direction, family, protocol, local: { address, port } };
          const rank = address !== null ? 0 : port !== null ? 1 : 2;
          const at = wide.filter((one) => includes(one.addresses, address) && includes(one.ports, port));
          for (const pattern of patternsAt(flow, at, never)) {
            const key = flowKey(pattern);
            if (seen.has(key)) continue;
            seen.add(key);
            ranks[rank]!.push(pattern);
          }
          if (seen.size > enough && width !== "none") return ranks.flat();
        }
      }
    }
  }
  return ranks.flat();
}

function widen(
  rule: Rule,
  index: number,
  direction: Direction,
  family: 4 | 6,
  protocol: RuleProtocol,
  width: Width,
): Wide | null {
  const { action } = rule;
  const stops = isStop(action);
  if (!stops && width === "none") return null;
  if (!stops && WHO.some((member) => rule[member] !== undefined)) return null;
  if (rule.direction !== undefined && rule.direction !== direction) return null;
  if (rule.protocol !== undefined && !entries(rule.protocol).includes(protocol)) return null;
  const locals = networks(rule.localAddress, family);
  const remotes = networks(rule.remoteAddress, family);
  const named = entries(rule.localPort).flatMap(portsOf);
  const inexact = locals.some((network) => network !== null && !isAddress(network)) || named.includes(null);
  // What lets go is never made wider.
  if (locals.length === 0 || remotes.length === 0 || (inexact && !stops)) return null;
  const all = [null];
  const anyLocal = stops && width !== "both";
  const addresses = locals.map((network) => (network && isAddress(network) ? formatNetwork(network) : null));
  const ranges = entries(rule.remotePort).map((port) =>
    typeof port === "number" ? ([port, port] as const) : ([port.from, port.to] as const),
  );
  return {
    ...{ index, action },
    addresses: anyLocal ? all : addresses,
    ports: anyLocal || rule.localPort === undefined ? all : named,
    remotes: width === "none" ? all : remotes,
    remotePorts: width === "none" || rule.remotePort === undefined ? all : ranges,
  };
}

function isStop(action: RuleAction): boolean {
  return action === "drop" || action === "reject";
}

function networks(addresses: Rule["localAddress"], family: 4 | 6): (Network | null)[] {
  if (addresses === undefined) return [null];
  return entries(addresses)
    .map((text) => parseNetwork(text)!)
    .filter((network) => network.family === family);
}

function portsOf(match: PortMatch): (number | null)[] {
  const [from, to] = typeof match === "number" ? [match, match] : [match.from, match.to];
  return to - from < LOCAL_PORTS_MAX ? Array.from({ length: to - from + 1 }, (_, i) => from + i) : [null];
}

/** All that rules name of the guest's end, in each combination, so that at each the first of all rules decides. */
function* endsOf(wide: readonly Wide[]): Generator<[address: string | null, port: number | null]> {
  const addresses = new Set(wide.flatMap((one) => one.addresses));
  const ports = new Set(wide.flatMap((one) => one.ports));
  for (const address of [...addresses].filter((one) => one !== null).concat(null as never)) {
    for (const port of [...ports].filter((one) => one !== null).concat(null as never)) yield [address, port];
  }
}

function includes<T>(list: readonly (T | null)[], one: T | null): boolean {
  return list.includes(null) || list.includes(one);
}

function* patternsAt(
  flow: Omit<FlowPattern, "action" | "remote">,
  at: readonly Wide[],
  never: readonly Network[],
): Generator<PlannedPattern> {
  const stops = at.filter(({ action }) => isStop(action));
  for (const network of never) {
    const meets = stops.some(({ remotes }) => remotes.some((remote) => remote === null || overlap(remote, network)));
    if (network.family !== flow.family || !meets) continue;
    yield toPattern({ ...flow, remote: { address: formatNetwork(network), ports: null }, action: "accept" }, null);
  }
  for (const { index, action, remotes, remotePorts } of at) {
    for (const remote of remotes) {
      const address = remote && formatNetwork(remote);
      for (const ports of remotePorts) yield toPattern({ ...flow, remote: { address, ports }, action }, index);
    }
    if (remotes.includes(null) && remotePorts.includes(null)) return;
  }
}

function toPattern(pattern: FlowPattern, rule: number | null): PlannedPattern {
  const reason = rule === null ? "exception" : "widened";
  return { ...pattern, key: patternKey(pattern), rule, owner: null, sock: null, reason };
}
