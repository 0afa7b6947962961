import type { Direction, RuleProtocol } from "../../rules/rule.ts";
import { guestComment, logPrefix } from "./names.ts";
import { chainFlow, directionLetter, type KeyedPattern, logChain, PROTOCOL_CHAINS, portWords } from "./rule.ts";

/** A device of a guest's, and whether it is a port of a bridge whose packets iptables sees. */
export interface Attachment {
  readonly name: string;
  readonly bridged: boolean;
}

/** Whose chains they are, and where his packets come from. */
export interface Frame {
  /** `GuestScope.id`. */
  readonly guest: string;
  /** What the names of his chains begin with. */
  readonly chains: string;
  readonly attachments: readonly Attachment[];
}

const DIRECTIONS: readonly Direction[] = ["out", "in"];
const PROTOCOLS = Object.keys(PROTOCOL_CHAINS) as RuleProtocol[];
/** Ports of DHCP, DHCPv6: a guest without an address is of no use to anybody. Never blocked. */
const DHCP = { 4: [67, 68], 6: [546, 547] } as const;

/**
 * What packets have to put up with that could carry a blocked flow past the rules, and what has to pass: there are rules for it only
 * while something is blocked, and while something is rejected.
 */
export interface Stance {
  /** Directions in which something is blocked. */
  readonly blocked: readonly Direction[];
  readonly rejects: boolean;
}

export function stanceOf(patterns: Iterable<KeyedPattern>): Stance {
  const blocked = new Set<Direction>();
  let rejects = false;
  for (const { action, direction } of patterns) {
    if (action === "drop" || action === "reject") blocked.add(direction);
    rejects ||= action === "reject";
  }
  return { blocked: DIRECTIONS.filter((direction) => blocked.has(direction)), rejects };
}

/** Names of all chains of a guest's. */
export function chainNames(chains: string): string[] {
  return DIRECTIONS.flatMap((direction) => {
    const own = ["", ...Object.values(PROTOCOL_CHAINS), "g", "h"];
    return own.map((letter) => `${chains}_${directionLetter(direction)}${letter}`);
  });
}

/** The chains that see packets first, filled anew: what decides which patterns they are asked for. */
export function topCommands({ guest, chains }: Frame, family: 4 | 6, { blocked, rejects }: Stance): string[] {
  return DIRECTIONS.flatMap((direction) => {
    const top = `${chains}_${directionLetter(direction)}`;
    const [first, last] = DHCP[family];
    const rules = [
      `-m comment --comment ${guestComment(guest)}`,
      `-p udp -m udp --sport ${first}:${last} --dport ${first}:${last} -j RETURN`,
      // The answers of `reject` enter by the same device. A reset ends a connection and carries nothing.
      ...(direction === "in" && rejects ? ["-p tcp -m tcp --tcp-flags RST RST -j RETURN"] : []),
      ...(blocked.includes(direction) ? fragments(family, `${top}h`) : []),
      // Gone to, not jumped to: a RETURN over there is one to whoever jumped here.
      ...PROTOCOLS.map((protocol) => `-p ${protocol} ${goTo(top, protocol)}`),
    ];
    return [`-F ${top}`, ...rules.map((rule) => `-A ${top} ${rule}`)];
  });
}

/** All chains but those of patterns, with what never changes in them. */
export function frameCommands({ guest, chains }: Frame, family: 4 | 6): string[] {
  const rules = DIRECTIONS.flatMap((direction) => [
    `-A ${chains}${logChain(direction)} -m limit --limit 10/sec --limit-burst 10 -j LOG --log-prefix ${logPrefix(direction, guest)}`,
    ...(family === 6 ? headless(`${chains}_${directionLetter(direction)}`) : []),
  ]);
  const own = chainNames(chains).filter((chain) => chainFlow(chain, family) === undefined);
  // Makes a chain, or empties the one that is there.
  return [...own.map((chain) => `:${chain} - [0:0]`), ...rules];
}

function goTo(top: string, protocol: RuleProtocol): string {
  return `-g ${top}${PROTOCOL_CHAINS[protocol]}`;
}

/** Later fragments have no ports, and what nf_tables (6.18) reads in their place may look like some. Nobody can make a packet of them alone. */
function fragments(family: 4 | 6, headless: string): string[] {
  return family === 4 ? ["-f -j RETURN"] : [`-m frag --fragfirst -g ${headless}`, "-m frag -j RETURN"];
}

/**
 * First fragments of IPv6. One that ends before the ports would be asked for by no rule, and an old system would put it together all the
 * same (RFC 7112 wants it dropped).
 */
function headless(top: string): string[] {
  const halves = [
    [0, 32767],
    [32768, 65535],
  ] as const;
  const rules = PROTOCOLS.flatMap((protocol) => [
    ...halves.map((half) => `-p ${protocol} ${portWords(protocol, half, null).join(" ")} ${goTo(top, protocol)}`),
    `-p ${protocol} -j DROP`,
  ]);
  // Of a packet whose protocol is not known, no rule that names one holds, not even that it is not 255.
  return [...rules, "! -p 255 -j RETURN", "-j DROP"].map((rule) => `-A ${top}h ${rule}`);
}

/**
 * Rules that send a guest's packets to his chains, as iptables-save prints them, by the chain in which they stand.
 *
 * `physdev` is named for a bridge's ports alone: asking for it loads br_netfilter, which shows all bridged packets of the host to
 * iptables from then on.
 */
export function jumps({ attachments, chains }: Frame): readonly { readonly chain: string; readonly text: string }[] {
  return attachments.flatMap(({ name, bridged }) => [
    { chain: "FORWARD", text: `-i ${name} -j ${chains}_o` },
    { chain: "FORWARD", text: `-o ${name} -j ${chains}_i` },
    { chain: "INPUT", text: `-i ${name} -j ${chains}_o` },
    { chain: "OUTPUT", text: `-o ${name} -j ${chains}_i` },
    ...(bridged
      ? [
          { chain: "FORWARD", text: `-m physdev --physdev-in ${name} -j ${chains}_o` },
          { chain: "FORWARD", text: `-m physdev --physdev-out ${name} --physdev-is-bridged -j ${chains}_i` },
          { chain: "INPUT", text: `-m physdev --physdev-in ${name} -j ${chains}_o` },
        ]
      : []),
  ]);
}
