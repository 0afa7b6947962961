import { createHash } from "node:crypto";
import { formatNetwork, parseNetwork } from "../../rules/network.ts";
import { type KeyedPattern, type PatternFlow, portWords, readWords, ruleText, sameWords } from "./rule.ts";

/*
 * A packet is compared with the rules of a chain one after the other, and a guest's user chooses how many flows he opens, and their ports and
 * addresses. So a chain of many patterns parts them by these, four bits at a time:
 *
 *   _ot        -p tcp --sport 32768:36863 -g _ot0k3z     a way: whoever goes it does not come back
 *              -p tcp --sport 36864:40959 -g _ot1vq8
 *              -p tcp --dport 22 -j DROP                 what is of no block, for the packets of no block
 *   _ot0k3z    …                                         what is of the block, and what is of none, in the order of the plan
 *
 * Where most are in one block, that one is parted in the same chain, and its way comes ahead of that to what is left around it:
 *
 *   _ot        -p tcp --sport 33024:33279 -g _ot9d1f     the fuller part of 32768:36863
 *              -p tcp --sport 32768:36863 -g _ot0k3z     the rest of it
 */

/** By what patterns are parted, those first by which it is mostly done at once. */
const SIDES = ["local port", "remote port", "remote address", "local address"] as const;
type Side = (typeof SIDES)[number];
/** Digits that all that is in a chain has in common. */
type Prefixes = Readonly<Record<Side, string>>;

/** Leads packets of a block to a chain of its own. */
export interface Way {
  readonly key: string;
  readonly side: Side;
  /** First digits, in hex, of all that is in the block. */
  readonly digits: string;
  readonly chain: string;
}

export type ChainRule = KeyedPattern | Way;

/** Patterns that are not worth to be parted. */
const FEW = 16;
/** Patterns of a block that are not worth a chain: making one costs as much as some rules. */
const TOO_FEW = 8;
/** Of its patterns a chain may double this part, where they are of no block. */
const DOUBLED = 1 / 8;
/** Chains below the first. nf_tables takes 15 (NFT_JUMP_STACK_SIZE), goto or not, below FORWARD: the guest's two, and that of first fragments. */
const DEEPEST = 12;
/** Of the part of a chain's name that tells it from others of its kind. */
const NAME_DIGITS = 4;

/** A pattern, and the digits in which all that it matches begins: made out when they are asked for, which on most sides they never are. */
class Placed {
  readonly pattern: KeyedPattern;
  readonly #digits = new Map<Side, string>();

  constructor(pattern: KeyedPattern) {
    this.pattern = pattern;
  }

  digits(side: Side): string {
    let digits = this.#digits.get(side);
    if (digits === undefined) {
      digits = digitsOf(this.pattern, side);
      this.#digits.set(side, digits);
    }
    return digits;
  }
}

interface Split {
  readonly side: Side;
  /** By their first digits: of two for one packet, the one that has more of them comes first. */
  readonly blocks: ReadonlyMap<string, readonly Placed[]>;
  /** What is of no block. */
  readonly wide: readonly Placed[];
}

/** Chains and their rules, in order, that decide for each packet as the patterns one after the other do: the chain `root`, and those that it leads to. */
export function treeOf(root: string, patterns: readonly KeyedPattern[]): Map<string, readonly ChainRule[]> {
  const chains = new Map<string, readonly ChainRule[]>();
  const grow = (chain: string, placed: readonly Placed[], prefixes: Prefixes, depth: number) => {
    // There already, so that no chain further down gets its name.
    chains.set(chain, []);
    const split = placed.length > FEW && depth < DEEPEST ? bestSplit(placed, prefixes) : null;
    const ways: Way[] = [];
    for (const [digits, inside] of split?.blocks ?? []) {
      const within = { ...prefixes, [split!.side]: digits };
      const name = freeName(root, within, chains);
      ways.push(wayTo(split!.side, digits, name));
      grow(name, inside, within, depth + 1);
    }
    chains.set(chain, [...ways, ...(split?.wide ?? placed).map(({ pattern }) => pattern)]);
  };
  const all = patterns.map((pattern) => new Placed(pattern));
  grow(root, all, { "local port": "", "remote port": "", "remote address": "", "local address": "" }, 0);
  return chains;
}

function wayTo(side: Side, digits: string, chain: string): Way {
  return { key: `${side} ${digits} ${chain}`, side, digits, chain };
}

export function isWay(rule: ChainRule): rule is Way {
  return "chain" in rule;
}

/** Patterns of chains, each once, in an order in which each chain has them. */
export function inOrder(chains: Iterable<readonly ChainRule[]>): KeyedPattern[] {
  const nodes = new Map<string, { pattern: KeyedPattern; after: number; next: string[] }>();
  for (const rules of chains) {
    let last: { next: string[] } | undefined;
    for (const rule of rules) {
      if (isWay(rule)) continue;
      const node = nodes.get(rule.key) ?? { pattern: rule, after: 0, next: [] };
      nodes.set(rule.key, node);
      if (last !== undefined) node.after++;
      last?.next.push(rule.key);
      last = node;
    }
  }
  const ordered: KeyedPattern[] = [];
  const ready = [...nodes.values()].filter(({ after }) => after === 0).reverse();
  for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
    ordered.push(node.pattern);
    for (const key of node.next) if (--nodes.get(key)!.after === 0) ready.push(nodes.get(key)!);
  }
  // Chains that others changed may want two patterns each ahead of the other.
  return [...ordered, ...[...nodes.values()].filter(({ after }) => after > 0).map(({ pattern }) => pattern)];
}

/** A rule as iptables-restore takes it, behind `-A CHAIN `. */
export function chainRuleText(rule: ChainRule, flow: PatternFlow, chains: string): string {
  return isWay(rule) ? wayText(rule, flow) : ruleText(rule, chains);
}

function wayText({ side, digits, chain }: Way, { direction, family, protocol }: PatternFlow): string {
  const outward = direction === "out";
  if (side === "remote address" || side === "local address") {
    const bytes = Buffer.from(digits.padEnd(family === 4 ? 8 : 32, "0"), "hex");
    const length = 4 * digits.length;
    const network = formatNetwork({ family, bytes, length });
    const whole = length === 8 * bytes.length ? `/${length}` : "";
    return `${(side === "local address") === outward ? "-s" : "-d"} ${network}${whole} -p ${protocol} -g ${chain}`;
  }
  const ports = [Number.parseInt(digits.padEnd(4, "0"), 16), Number.parseInt(digits.padEnd(4, "f"), 16)] as const;
  const [from, to] = (side === "local port") === outward ? [ports, null] : [null, ports];
  return [`-p ${protocol}`, ...portWords(protocol, from, to), `-g ${chain}`].join(" ");
}

/** Reads a way as iptables-save prints it; undefined if it is none of our making. */
export function readWay(text: string, flow: PatternFlow): Way | undefined {
  const words = readWords(text, flow.direction);
  if (words === undefined) return undefined;
  const { near, far, target } = words;
  const blocks: [Side, string][] = [
    ["local port", near.ports === null ? "" : portDigits(near.ports)],
    ["remote port", far.ports === null ? "" : portDigits(far.ports)],
    ["remote address", far.address === null ? "" : addressDigits(far.address)],
    ["local address", near.address === null ? "" : addressDigits(near.address)],
  ];
  const [block, more] = blocks.filter(([, digits]) => digits !== "");
  if (block === undefined || more !== undefined) return undefined;
  const way = wayTo(...block, target);
  return sameWords(text, wayText(way, flow)) ? way : undefined;
}

function digitsOf({ local, remote }: KeyedPattern, side: Side): string {
  if (side === "local port") return local.port === null ? "" : portDigits([local.port, local.port]);
  if (side === "remote port") return remote.ports === null ? "" : portDigits(remote.ports);
  const { address } = side === "remote address" ? remote : local;
  return address === null ? "" : addressDigits(address);
}

/** The digits that all ports of a range have in common. */
function portDigits([first, last]: readonly [number, number]): string {
  const [from, to] = [first, last].map((port) => port.toString(16).padStart(4, "0")) as [string, string];
  let common = 0;
  while (common < 4 && from[common] === to[common]) common++;
  return from.slice(0, common);
}

function addressDigits(text: string): string {
  const { bytes, length } = parseNetwork(text)!;
  return Buffer.from(bytes)
    .toString("hex")
    .slice(0, length >> 2);
}

/** The side on which the fullest block is emptiest; null where there is none that parts them without too many twice. */
function bestSplit(placed: readonly Placed[], prefixes: Prefixes): Split | null {
  let best: Split | null = null;
  let least = Number.POSITIVE_INFINITY;
  for (const side of SIDES) {
    const split = splitBy(side, placed, prefixes[side].length);
    if (split === null) continue;
    const most = Math.max(...[...split.blocks.values()].map((inside) => inside.length));
    // By half, or it is not worth to make all chains anew where a flow more or less tips the scales.
    if (most > least / 2 && best !== null) continue;
    [best, least] = [split, most];
    if (most <= placed.length / 2) break;
  }
  return best;
}

/** Parts by digits from `depth` on; null where nothing is worth a block, or too much would be in several. */
function splitBy(side: Side, placed: readonly Placed[], depth: number): Split | null {
  for (const full of [placed.length / 2, placed.length]) {
    const blocks = new Map<string, readonly Placed[]>();
    const left = partBy(side, placed, depth, full, blocks);
    if (blocks.size === 0) return null;
    const rules = [...blocks.values()].reduce((sum, inside) => sum + inside.length, left.size);
    if (rules <= placed.length * (1 + DOUBLED)) return { side, blocks, wide: placed.filter((one) => left.has(one)) };
  }
  return null;
}

/**
 * Parts by the first digit, from `depth` on, in which patterns differ, and what has more than `full` of them by the next such digit: else a guest's
 * user, who chooses the digits, chose how deep chains are. Returns what is left for packets of no block.
 */
function partBy(
  side: Side,
  placed: readonly Placed[],
  depth: number,
  full: number,
  blocks: Map<string, readonly Placed[]>,
): Set<Placed> {
  let longest = "";
  for (const one of placed) if (one.digits(side).length > longest.length) longest = one.digits(side);
  const differ = (at: number) =>
    placed.some((one) => one.digits(side).length > at && one.digits(side)[at] !== longest[at]);
  let at = depth;
  while (at < longest.length && !differ(at)) at++;
  if (at >= longest.length) return new Set(placed);
  const left = new Set(placed.filter((one) => one.digits(side).length <= at));
  const wide = left.size;
  const parts = new Map<string, Placed[]>();
  for (const one of placed) if (!left.has(one)) parts.set(one.digits(side).slice(0, at + 1), []);
  for (const one of placed) {
    const part = parts.get(one.digits(side).slice(0, at + 1));
    for (const inside of part === undefined ? parts.values() : [part]) inside.push(one);
  }
  // In their own order, not the plan's, in which they would change places.
  for (const [digits, inside] of [...parts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const around = inside.length > full ? partBy(side, inside, digits.length, full, blocks) : null;
    const rest = around === null ? inside : inside.filter((one) => around.has(one));
    if (rest.length - wide > TOO_FEW) blocks.set(digits, rest);
    else for (const one of rest) left.add(one);
  }
  return left;
}

/** The same for the same digits, so that what others do changes no chain but theirs; another where that one is taken. */
function freeName(root: string, prefixes: Prefixes, taken: ReadonlyMap<string, unknown>): string {
  const path = SIDES.map((side) => prefixes[side]).join("/");
  for (let attempt = 0; ; attempt++) {
    const hash = createHash("sha256").update(`${path} ${attempt}`).digest().readUInt32BE();
    const name = root + (hash % 36 ** NAME_DIGITS).toString(36).padStart(NAME_DIGITS, "0");
    if (!taken.has(name)) return name;
  }
}
