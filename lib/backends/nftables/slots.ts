import { formatNetwork, parseNetwork } from "../../rules/network.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import { patternKey } from "../../rules/pattern-key.ts";
import type { Direction } from "../../rules/rule.ts";
import { digest } from "../names.ts";
import type { Json } from "./nft.ts";

/**
 * How patterns lie in the firewall. Four places are looked into for each packet, in this order, which is a plan's:
 *
 *     flow      local address . protocol . local port . remote address . remote port  →  verdict
 *     address   local address . protocol . local port                                 →  verdict, or jump to a list
 *     port      protocol . local port                                                 →  verdict, or jump to a list
 *     rest      a list that all packets run through
 *
 * The first three are hash maps. Patterns of one end that ask for a network or a range of ports at the other end, and those behind them in
 * the plan, are a *list*: a chain with a rule each, in the plan's order, named by its content and shared by all ends that have the same. So
 * another listening socket under the same rule is one more element. In the rest are patterns without a local port: rules
 * without their sockets, a handful.
 */
export const CLASSES = ["flow", "address", "port"] as const;
export type Class = (typeof CLASSES)[number];

/** A pattern in one spelling, without what asks nothing, and its key. */
export interface KeyedPattern extends FlowPattern {
  readonly key: string;
}

/** An element of a map. */
export interface Slot {
  /** Map and key as text: no two slots have one. */
  readonly id: string;
  readonly map: string;
  /** In the map's order of fields. */
  readonly key: readonly (string | number)[];
  /** One, or more with what they ask of the other end, in order. */
  readonly patterns: readonly KeyedPattern[];
  /** "drop", "accept", or the chain that decides. */
  readonly verdict: string;
}

/** What a firewall holds of a plan. */
export interface Content {
  /** By key. */
  readonly patterns: ReadonlyMap<string, KeyedPattern>;
  /** By id. */
  readonly slots: ReadonlyMap<string, Slot>;
  /** Patterns without a local port, by direction and family: "out4". */
  readonly rest: ReadonlyMap<string, readonly KeyedPattern[]>;
}

export const EMPTY: Content = { patterns: new Map(), slots: new Map(), rest: new Map() };

/** Numbers, which nft takes where /etc/protocols is missing, too. */
const PROTOCOLS = { tcp: 6, udp: 17, udplite: 136 } as const;

/**
 * Where the patterns of a plan go. Of two patterns for the same packets the first stays. What `before` has is not spelled
 * again; if it is the same plan, it is returned.
 */
export function compile(planned: readonly KeyedPattern[], before = EMPTY): Content {
  if (sameKeys(planned, before.patterns)) return before;
  const patterns = new Map<string, KeyedPattern>();
  const slots = new Map<string, { map: string; key: (string | number)[]; patterns: KeyedPattern[] }>();
  const rest = new Map<string, KeyedPattern[]>();
  for (const given of planned) {
    const pattern = before.patterns.get(given.key) ?? spellPattern(given);
    const kind = classOf(pattern);
    const side = sideOf(pattern);
    if (kind === null) {
      const list = rest.get(side);
      if (list === undefined) rest.set(side, [pattern]);
      else list.push(pattern);
    } else {
      // The map of flows is asked first: what stands behind others of its end in the plan is asked with them.
      const behind = kind === "flow" && slots.has(placeOf(pattern, "address").id);
      const { map, key, id } = placeOf(pattern, behind ? "address" : kind);
      const slot = slots.get(id);
      if (slot === undefined) slots.set(id, { map, key, patterns: [pattern] });
      else if (map.endsWith("_flow")) continue;
      else slot.patterns.push(pattern);
    }
    patterns.set(pattern.key, pattern);
  }
  const digests = new Map<string, string>();
  const named = Array.from(slots, ([id, slot]): [string, Slot] => {
    return [id, { id, ...slot, verdict: verdictOf(slot.map, slot.patterns, digests) }];
  });
  return { patterns, slots: new Map(named), rest };
}

function sameKeys(planned: readonly KeyedPattern[], before: ReadonlyMap<string, unknown>): boolean {
  if (planned.length !== before.size) return false;
  const keys = before.keys();
  return planned.every(({ key }) => key === keys.next().value);
}

function placeOf(pattern: KeyedPattern, kind: Class) {
  const map = `${sideOf(pattern)}_${kind}`;
  const key = keyOf(pattern, kind);
  return { map, key, id: slotId(map, key) };
}

export function slotId(map: string, key: readonly (string | number)[]): string {
  return `${map} ${key.join(" ")}`;
}

/** What of it has these directions. */
export function within(content: Content, directions: readonly Direction[]): Content {
  if (directions.length === 2) return content;
  const here = (side: string) => directions.some((direction) => side.startsWith(direction));
  return {
    patterns: new Map([...content.patterns].filter(([, { direction }]) => here(direction))),
    slots: new Map([...content.slots].filter(([, { map }]) => here(map))),
    rest: new Map([...content.rest].filter(([side]) => here(side))),
  };
}

/** Direction and family, "out4": the start of the names of maps and chains. */
export function sideOf({ direction, family }: FlowPattern): string {
  return `${direction}${family}`;
}

/** What decides for these patterns; `digests` of lists that were made before. */
export function verdictOf(map: string, patterns: readonly FlowPattern[], digests = new Map<string, string>()): string {
  const [first] = patterns;
  const alone = patterns.length === 1 && (map.endsWith("_flow") || !constrained(first!));
  return alone ? actionOf(first!) : listName(patterns, digests);
}

/** Whether a verdict is a list that packets may come back from, to be looked up in the next place. */
export function isList(verdict: string): boolean {
  return verdict.startsWith("list_");
}

/** A verdict as nft takes and prints it. */
export function verdictJson(verdict: string): Json {
  if (verdict === "drop" || verdict === "accept") return { [verdict]: null };
  return { [isList(verdict) ? "jump" : "goto"]: { target: verdict } };
}

/** "drop", "accept", "reject_out", "log_in". */
export function actionOf({ action, direction }: FlowPattern): string {
  return action === "drop" || action === "accept" ? action : `${action}_${direction}`;
}

/** Whether a pattern asks more than its slot's key says. */
function constrained({ local, remote }: FlowPattern): boolean {
  return remote.address !== null || remote.ports !== null || isNetwork(local.address);
}

/** What a pattern asks beyond the key of a slot: that of a list's rule. */
export function beyondKey(pattern: FlowPattern): FlowPattern {
  const { local } = pattern;
  return { ...pattern, local: { address: isNetwork(local.address) ? local.address : null, port: null } };
}

function isNetwork(address: string | null): boolean {
  return address?.includes("/") ?? false;
}

function listName(patterns: readonly FlowPattern[], digests: Map<string, string>): string {
  // Whatever the protocol: the key has it.
  const asked = patterns.map((pattern) => patternKey({ ...beyondKey(pattern), protocol: "tcp" })).join("\n");
  const name = digests.get(asked) ?? `list_${digest(asked)}`;
  digests.set(asked, name);
  return name;
}

export function protocolNumber(protocol: FlowPattern["protocol"]): number {
  return PROTOCOLS[protocol];
}

/** By the name or number that nft prints; undefined for one that has no patterns. */
export function protocolOf(value: Json | undefined): FlowPattern["protocol"] | undefined {
  const names = Object.keys(PROTOCOLS) as FlowPattern["protocol"][];
  return names.find((name) => value === name || value === PROTOCOLS[name]);
}

function classOf({ local, remote }: FlowPattern): Class | null {
  if (local.port === null) return null;
  // A network of the guest's own addresses is no key: it is asked for in a list.
  if (local.address === null || isNetwork(local.address)) return "port";
  const exact = remote.address !== null && !isNetwork(remote.address) && remote.ports !== null;
  return exact && remote.ports[0] === remote.ports[1] ? "flow" : "address";
}

function keyOf({ protocol, local, remote }: FlowPattern, kind: Class): (string | number)[] {
  const port = [PROTOCOLS[protocol], local.port!];
  if (kind === "port") return port;
  return kind === "address" ? [local.address!, ...port] : [local.address!, ...port, remote.address!, remote.ports![0]];
}

function spellPattern(pattern: KeyedPattern): KeyedPattern {
  const { direction, family, protocol, local, remote, action, key } = pattern;
  const [from, to] = remote.ports ?? [0, 65535];
  return {
    direction,
    family,
    protocol,
    local: { address: spell(local.address), port: local.port },
    remote: { address: spell(remote.address), ports: from === 0 && to === 65535 ? null : [from, to] },
    action,
    key,
  };
}

function spell(address: string | null): string | null {
  if (address === null) return null;
  const network = parseNetwork(address);
  if (network === undefined) throw new TypeError(`A pattern has the address ${JSON.stringify(address)}`);
  return network.length === 0 ? null : formatNetwork(network);
}
