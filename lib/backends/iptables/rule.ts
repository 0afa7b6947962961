import { formatNetwork, parseNetwork } from "../../rules/network.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import { patternKey } from "../../rules/pattern-key.ts";
import type { Direction, RuleAction, RuleProtocol } from "../../rules/rule.ts";

/** A pattern that a chain holds as one rule. */
export interface KeyedPattern extends FlowPattern {
  readonly key: string;
}

/** What is the same for all patterns of a chain. */
export type PatternFlow = Pick<FlowPattern, "direction" | "family" | "protocol">;

/** Last letters of the chains that hold a protocol's patterns. */
export const PROTOCOL_CHAINS: Readonly<Record<RuleProtocol, string>> = { tcp: "t", udp: "u", udplite: "l" };
const NUMBERS: Readonly<Record<string, RuleProtocol>> = { 6: "tcp", 17: "udp", 136: "udplite" };

/** "o", "i": what chains of a direction are called. */
export function directionLetter(direction: Direction): string {
  return direction[0]!;
}

/** The chain that holds a pattern, without what its guest's chains begin with: "_ot". */
export function patternChain({ direction, protocol }: Pick<FlowPattern, "direction" | "protocol">): string {
  return `_${directionLetter(direction)}${PROTOCOL_CHAINS[protocol]}`;
}

/** What the patterns of a chain have in common, by its name; undefined where it holds none. */
export function chainFlow(chain: string, family: 4 | 6): PatternFlow | undefined {
  const [, way, letter] = /_([oi])([tul])[^_]*$/.exec(chain) ?? [];
  const protocol = (Object.keys(PROTOCOL_CHAINS) as RuleProtocol[]).find((name) => PROTOCOL_CHAINS[name] === letter);
  return protocol && { direction: way === "o" ? "out" : "in", family, protocol };
}

/** The chain that logs. */
export function logChain(direction: Direction): string {
  return `_${directionLetter(direction)}g`;
}

/** A pattern as iptables-restore takes it, behind `-A CHAIN `. */
export function ruleText(pattern: FlowPattern, chains: string): string {
  const { direction, protocol, local, remote, action, family } = pattern;
  const near = { address: local.address, ports: local.port === null ? null : ([local.port, local.port] as const) };
  const [from, to] = direction === "out" ? [near, remote] : [remote, near];
  return [
    ...address("-s", from.address),
    ...address("-d", to.address),
    `-p ${protocol}`,
    ...portWords(protocol, from.ports, to.ports),
    target(action, protocol, family, direction, chains),
  ].join(" ");
}

/** Ports, as each protocol is asked for them: iptables has no `--sport` for UDP-Lite. */
export function portWords(protocol: RuleProtocol, from: Ports, to: Ports): string[] {
  const [source, destination] = [range(from), range(to)];
  if (protocol === "udplite") {
    return [
      ...(source === null ? [] : [`-m multiport --sports ${source}`]),
      ...(destination === null ? [] : [`-m multiport --dports ${destination}`]),
    ];
  }
  if (source === null && destination === null) return [];
  return [
    `-m ${protocol}`,
    ...(source === null ? [] : [`--sport ${source}`]),
    ...(destination === null ? [] : [`--dport ${destination}`]),
  ];
}

type Ports = FlowPattern["remote"]["ports"];

const RULE =
  /^(?:-s (?<source>\S+) )?(?:-d (?<destination>\S+) )?-p (?<protocol>\w+)(?: -m (?:tcp|udp|multiport))?(?: --sports? (?<from>\d+(?::\d+)?))?(?: -m multiport)?(?: --dports? (?<to>\d+(?::\d+)?))? -[jg] (?<target>\S+)(?: --reject-with \S+)?$/;

/** What a rule asks for, seen from the guest, and where it leads. */
export interface RuleWords {
  readonly near: { readonly address: string | null; readonly ports: Ports };
  readonly far: { readonly address: string | null; readonly ports: Ports };
  /** A number, or a name that need not be one of ours. */
  readonly protocol: string;
  readonly target: string;
}

/** Reads a rule as iptables-save prints it; undefined where it asks for what ours never do. */
export function readWords(text: string, direction: Direction): RuleWords | undefined {
  const { source, destination, protocol, from, to, target } = RULE.exec(text)?.groups ?? {};
  if (protocol === undefined) return undefined;
  const sender = { address: spell(source), ports: readRange(from) };
  const receiver = { address: spell(destination), ports: readRange(to) };
  const [near, far] = direction === "out" ? [sender, receiver] : [receiver, sender];
  return { near, far, protocol: NUMBERS[protocol] ?? protocol, target: target! };
}

/** Reads a pattern's rule, as iptables-save prints it; undefined if it is not of our making. */
export function readRule(
  text: string,
  { direction, family, protocol }: PatternFlow,
  chains: string,
): KeyedPattern | undefined {
  const words = readWords(text, direction);
  const action = words && readTarget(words.target, direction, chains);
  if (action === undefined || words!.protocol !== protocol) return undefined;
  const { near, far } = words!;
  if (near.ports !== null && near.ports[0] !== near.ports[1]) return undefined;
  const local = { address: near.address, port: near.ports?.[0] ?? null };
  const pattern: FlowPattern = { direction, family, protocol, local, remote: far, action };
  // What is asked in addition, or otherwise, is not what we wrote.
  if (!sameWords(text, ruleText(pattern, chains))) return undefined;
  return { ...pattern, key: patternKey(pattern) };
}

/** Whether the same is asked, but for how addresses and protocols are spelled. */
export function sameWords(a: string, b: string): boolean {
  const words = (text: string) => text.replace(/(-[sdp]) \S+/g, "$1");
  return words(a) === words(b);
}

function address(option: string, text: string | null): string[] {
  if (text === null) return [];
  const network = parseNetwork(text);
  if (network === undefined) throw new TypeError(`A pattern has the address ${JSON.stringify(text)}`);
  if (network.length === 0) return [];
  const whole = network.length === network.bytes.length * 8;
  return [`${option} ${formatNetwork(network)}${whole ? `/${network.length}` : ""}`];
}

function spell(text: string | undefined): string | null {
  const network = text === undefined ? undefined : parseNetwork(text);
  return network === undefined ? null : formatNetwork(network);
}

function range(ports: Ports): string | null {
  if (ports === null || (ports[0] === 0 && ports[1] === 65535)) return null;
  return ports[0] === ports[1] ? String(ports[0]) : `${ports[0]}:${ports[1]}`;
}

function readRange(text: string | undefined): Ports {
  if (text === undefined) return null;
  const [from, to = from] = text.split(":").map(Number);
  return [from!, to!];
}

function target(
  action: RuleAction,
  protocol: RuleProtocol,
  family: 4 | 6,
  direction: Direction,
  chains: string,
): string {
  if (action === "drop") return "-j DROP";
  if (action === "accept") return "-j RETURN";
  // What logs ends there, and with it this rule's chain, which was gone to and not jumped to: as RETURN does.
  if (action === "log") return `-g ${chains}${logChain(direction)}`;
  const answer = protocol === "tcp" ? "tcp-reset" : family === 4 ? "icmp-port-unreachable" : "icmp6-port-unreachable";
  return `-j REJECT --reject-with ${answer}`;
}

function readTarget(name: string, direction: Direction, chains: string): RuleAction | undefined {
  if (name === "DROP") return "drop";
  if (name === "RETURN") return "accept";
  if (name === "REJECT") return "reject";
  return name === `${chains}${logChain(direction)}` ? "log" : undefined;
}
