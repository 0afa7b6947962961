import { formatNetwork, parseNetwork } from "../../rules/network.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import { patternKey } from "../../rules/pattern-key.ts";
import type { Direction } from "../../rules/rule.ts";
import type { InstalledPattern } from "../backend.ts";
import { escapeBytes } from "../names.ts";
import { type ReadRule, readAction, readRule } from "./lists.ts";
import { guestOfComment } from "./names.ts";
import type { Json } from "./nft.ts";
import { SIDES } from "./ruleset.ts";
import {
  CLASSES,
  type Class,
  type Content,
  isList,
  type KeyedPattern,
  protocolNumber,
  protocolOf,
  type Slot,
  slotId,
  verdictOf,
} from "./slots.ts";

/** A guest's table, as nft lists it. */
export interface Listing {
  /** The guest's name, escaped and perhaps cut; null if nothing tells. */
  readonly guest: string | null;
  readonly content: Content;
  readonly patterns: readonly InstalledPattern[];
  readonly chains: ReadonlySet<string>;
  /** Interfaces for which it is in force: names, or indices of devices that are gone. */
  readonly bound: readonly (string | number)[];
  /** What is there and is not of our making, one line each. */
  readonly strange: readonly string[];
}

interface Named {
  readonly name: string;
  readonly elem?: readonly Json[];
}

interface Rule {
  readonly chain: string;
  readonly comment?: string;
  readonly expr: Json;
}

/** Reads `nft -j list table`. Whatever it does not understand is strange, and the table to be made again. */
export function readListing(objects: readonly Json[]): Listing {
  const maps = pick<Named>(objects, "map");
  const rules = pick<Rule>(objects, "rule");
  const chains = new Set(pick<Named>(objects, "chain").map(({ name }) => name));
  const byChain = new Map<string, Rule[]>([...chains].map((chain) => [chain, []]));
  for (const rule of rules) byChain.get(rule.chain)?.push(rule);
  const strange: string[] = [];
  const patterns: InstalledPattern[] = [];
  const slots = new Map<string, Slot>();
  const digests = new Map<string, string>();
  for (const { name, elem = [] } of maps) {
    for (const element of elem) {
      const slot = readSlot(name, element, byChain, digests);
      if (slot === undefined) {
        strange.push(`map ${escapeBytes(name, 40)} has an element that is not of xfilter's making`);
        continue;
      }
      slots.set(slot.id, slot);
      // The packets of an element are its pattern's if they all meet it.
      const packets = isList(slot.verdict) ? null : slot.packets;
      patterns.push(...slot.patterns.map((pattern) => ({ ...pattern, packets })));
    }
  }
  const lists = new Set(Array.from(slots.values(), ({ verdict }) => verdict));
  for (const chain of chains) {
    if (isList(chain) && !lists.has(chain)) strange.push(`chain ${escapeBytes(chain, 40)} is not used`);
  }
  const rest = new Map<string, KeyedPattern[]>();
  for (const side of SIDES) {
    const read = (byChain.get(`rest_${side}`) ?? []).map(({ expr }) => readRule(side, expr));
    if (read.some((rule) => rule?.protocol == null))
      strange.push(`chain rest_${side} has a rule that is not of xfilter's making`);
    const known = read.filter((rule) => rule?.protocol != null) as (ReadRule & { protocol: FlowPattern["protocol"] })[];
    const list = known.map(({ protocol, local, ...rule }) =>
      patternOf(side, { ...rule, protocol, local: { address: local, port: null } }),
    );
    if (list.length > 0) rest.set(side, list);
    patterns.push(...list.map((pattern, index) => ({ ...pattern, packets: known[index]!.packets })));
  }
  const guest = rules.map(({ comment }) => (comment === undefined ? null : guestOfComment(comment)));
  return {
    guest: guest.find((name) => name !== null) ?? null,
    content: { patterns: new Map(patterns.map((pattern) => [pattern.key, pattern])), slots, rest },
    patterns,
    chains,
    bound: pick<Named>(objects, "set").flatMap(({ name, elem }) => (name === "bound" ? readBound(elem) : [])),
    strange,
  };
}

/** Tables of one guest as one: a pattern that is in several of them has the packets of each. */
export function joinListings(listings: readonly Listing[]): Listing {
  const patterns = new Map<string, InstalledPattern>();
  for (const pattern of listings.flatMap(({ patterns }) => patterns)) {
    const before = patterns.get(pattern.key)?.packets ?? 0;
    patterns.set(pattern.key, { ...pattern, packets: pattern.packets === null ? null : pattern.packets + before });
  }
  const contents = listings.map(({ content }) => content);
  return {
    guest: listings.find(({ guest }) => guest !== null)?.guest ?? null,
    content: {
      patterns: new Map(contents.flatMap(({ patterns }) => [...patterns])),
      slots: new Map(contents.flatMap(({ slots }) => [...slots])),
      rest: new Map(contents.flatMap(({ rest }) => [...rest])),
    },
    patterns: [...patterns.values()],
    bound: [...new Set(listings.flatMap(({ bound }) => bound))],
    chains: new Set(listings.flatMap(({ chains }) => [...chains])),
    strange: listings.flatMap(({ strange }) => strange),
  };
}

function pick<T>(objects: readonly Json[], kind: string): T[] {
  return (objects as Record<string, unknown>[]).flatMap((object) =>
    object[kind] === undefined ? [] : [object[kind] as T],
  );
}

function readBound(elements: readonly Json[] = []): (string | number)[] {
  return elements.map((element) => {
    const { elem } = element as { elem?: { val: string | number } };
    return elem === undefined ? (element as string | number) : elem.val;
  });
}

function readSlot(
  map: string,
  element: Json,
  rules: ReadonlyMap<string, readonly Rule[]>,
  digests: Map<string, string>,
) {
  const [, side, kind] = /^((?:in|out)[46])_(\w+)$/.exec(map) ?? [];
  if (side === undefined || !CLASSES.includes(kind as Class) || !Array.isArray(element)) return undefined;
  const [left, verdict] = element as [{ elem?: { val: Json; counter?: { packets: number } } }, Json];
  const key = readKey(kind as Class, (left.elem?.val ?? left) as { concat?: readonly Json[] });
  if (key === undefined) return undefined;
  const { jump } = verdict as { jump?: { target: string } };
  const action = readAction(verdict);
  const asked =
    jump === undefined
      ? [action === null ? undefined : { local: null, remote: key.remote, action }]
      : (rules.get(jump.target) ?? []).map(({ expr }) => readRule(side, expr));
  if (asked.length === 0 || asked.includes(undefined)) return undefined;
  const patterns = asked.map((rule) =>
    patternOf(side, {
      protocol: key.protocol,
      local: { address: rule!.local ?? key.local.address, port: key.local.port },
      remote: rule!.remote,
      action: rule!.action,
    }),
  );
  // A list is named by what is in it.
  const decides = verdictOf(map, patterns, digests);
  if (isList(decides) ? jump?.target !== decides : jump !== undefined) return undefined;
  const packets = left.elem?.counter?.packets ?? null;
  return { id: slotId(map, key.key), map, key: key.key, patterns, verdict: decides, packets };
}

function readKey(kind: Class, { concat = [] }: { concat?: readonly Json[] }) {
  const [address, l4, port, remoteAddress, remotePort] = kind === "port" ? [null, ...concat] : concat;
  const protocol = protocolOf(l4);
  if (protocol === undefined || typeof port !== "number") return undefined;
  const local = { address: address === null ? null : spell(address!), port };
  const key = [...(local.address === null ? [] : [local.address]), protocolNumber(protocol), port];
  if (kind !== "flow") return { protocol, local, remote: { address: null, ports: null }, key };
  const far = { address: spell(remoteAddress!), port: Number(remotePort) };
  const remote = { address: far.address, ports: [far.port, far.port] as const };
  return { protocol, local, remote, key: [...key, far.address, far.port] };
}

/** As we write it: nft prints "::ffff:192.0.2.7". */
function spell(address: Json): string {
  const network = String(address).includes(":") ? parseNetwork(String(address)) : undefined;
  return network === undefined ? String(address) : formatNetwork(network);
}

function patternOf(side: string, parts: Omit<FlowPattern, "direction" | "family">): KeyedPattern {
  const direction = side.slice(0, -1) as Direction;
  const { protocol, local, remote, action } = parts;
  const pattern: FlowPattern = { direction, family: side.endsWith("4") ? 4 : 6, protocol, local, remote, action };
  return { ...pattern, key: patternKey(pattern) };
}
