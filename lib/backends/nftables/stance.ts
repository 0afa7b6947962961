import type { FlowPattern } from "../../rules/pattern.ts";
import type { Json } from "./nft.ts";
import { dhcpPorts, frameBytes, match, matchSet, protocol, TAGS } from "./packets.ts";
import type { Part } from "./ruleset.ts";
import { type Content, sideOf } from "./slots.ts";

/**
 * What packets have to put up with that could carry a blocked flow past the maps. There are rules for it only
 * while something is blocked on their side ("out4", …), so that a guest of which nothing is blocked loses nothing.
 *
 * - A first fragment of IPv6 that ends before the transport header (RFC 7112 wants it dropped; old systems put it together).
 * - Frames with two tags: the kernel takes off one, and nft's keys begin behind it. Those that carry TCP or UDP
 *   are dropped, as are those with more tags.
 *
 * And the one thing that has to pass: the answers of `reject` enter by the same device, and `in` would drop them.
 */
export interface Stance {
  /** Sides on which something is blocked, in order. */
  readonly blocked: readonly string[];
  readonly rejects: boolean;
}

export function stanceOf(content: Content): Stance {
  const blocked = new Set<string>();
  let rejects = false;
  for (const pattern of content.patterns.values()) {
    if (blocks(pattern)) blocked.add(sideOf(pattern));
    rejects ||= pattern.action === "reject";
  }
  return { blocked: [...blocked].sort(), rejects };
}

export function sameStance(a: Stance, b: Stance): boolean {
  return a.rejects === b.rejects && a.blocked.join() === b.blocked.join();
}

/** Fills the chains that the frame left empty. */
export function stanceCommands(table: string, { family, directions }: Part, stance: Stance): Json[] {
  const inTable = { family, table };
  const fill = (name: string, rules: Json[][]): Json[] => [
    { flush: { chain: { ...inTable, name } } },
    ...rules.map((expr): Json => ({ add: { rule: { ...inTable, chain: name, expr } } })),
  ];
  return directions.flatMap((direction) => {
    const families = ([4, 6] as const).filter((family) => stance.blocked.includes(`${direction}${family}`));
    const answers = direction === "in" ? fill("answers_in", stance.rejects ? [RESET] : []) : [];
    return [
      ...fill(`headless_${direction}`, families.includes(6) ? HEADLESS : []),
      ...fill(`tagged_${direction}`, families.length > 0 ? tagged(families) : []),
      ...answers,
    ];
  });
}

function blocks({ action }: FlowPattern): boolean {
  return action === "drop" || action === "reject";
}

const STOP: Json[] = [{ counter: null }, { drop: null }];

/** A reset ends a connection and carries nothing. */
const RESET: Json[] = [
  { match: { op: "==", left: { "&": [{ payload: { protocol: "tcp", field: "flags" } }, "rst"] }, right: "rst" } },
  { accept: null },
];

/** Ahead of what nft asks of extension headers: in the family bridge it would take a tagged frame for another protocol. */
const FIRST_FRAGMENT: Json[] = [
  match({ payload: { protocol: "ip6", field: "version" } }, 6),
  match({ exthdr: { name: "frag", field: "frag-off" } }, 0),
];

/** A first fragment whose first four bytes of transport header can be read has been looked up; in others this load fails. */
const HEADLESS: Json[][] = [
  [
    ...FIRST_FRAGMENT,
    { match: { op: ">=", left: { payload: { base: "th", offset: 0, len: 32 } }, right: 0 } },
    { accept: null },
  ],
  [...FIRST_FRAGMENT, ...STOP],
];

const TRANSPORT = [6, 17, 136];
/** Extension headers (hop-by-hop, routing, fragment, authentication, destination): what is behind them is not looked for. */
const EXTENSIONS = [0, 43, 44, 51, 60];

/** Byte at which the EtherType behind the tags is: of one that the kernel left in the frame, of two. */
const AFTER_ONE = 16;
const AFTER_TWO = 20;

function tagged(families: readonly (4 | 6)[]): Json[][] {
  const two = matchSet(frameBytes(AFTER_ONE, 2), TAGS);
  return [
    [two, matchSet(frameBytes(AFTER_TWO, 2), TAGS), ...STOP],
    ...families.flatMap((family) => behindTags(family, AFTER_ONE, [])),
    ...families.flatMap((family) => behindTags(family, AFTER_TWO, [two])),
  ];
}

function behindTags(family: 4 | 6, type: number, condition: Json[]): Json[][] {
  const start = type + 2;
  if (family === 4) {
    const ip = [...condition, match(frameBytes(type, 2), protocol.ip)];
    // Without options: the ports are where they are looked for.
    const plain = [match(frameBytes(start, 1), 0x45), match(frameBytes(start + 9, 1), 17)];
    return [
      [...ip, ...plain, matchSet(frameBytes(start + 20, 4), dhcpPorts(4)), { accept: null }],
      [...ip, matchSet(frameBytes(start + 9, 1), TRANSPORT), ...STOP],
    ];
  }
  const ip6 = [...condition, match(frameBytes(type, 2), protocol.ip6)];
  const next = frameBytes(start + 6, 1);
  return [
    [...ip6, match(next, 17), matchSet(frameBytes(start + 40, 4), dhcpPorts(6)), { accept: null }],
    [...ip6, matchSet(next, [...TRANSPORT, ...EXTENSIONS]), ...STOP],
  ];
}
