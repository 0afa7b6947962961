import type { GuestInterface } from "../../guest-interface.ts";
import type { Direction } from "../../rules/rule.ts";
import { guestComment, logPrefix } from "./names.ts";
import type { Json } from "./nft.ts";
import { dhcp, frameBytes, match, matchSet, protocol, TAGS } from "./packets.ts";
import { CLASSES, type Class } from "./slots.ts";

/** One of the tables of a guest, which have one name: its family, and which of the guest's packets come there. */
export interface Part {
  readonly family: "netdev" | "bridge" | "inet";
  readonly directions: readonly Direction[];
}

/** All at the guest's own devices: Linux 5.16. */
export const AT_DEVICES: readonly Part[] = [{ family: "netdev", directions: ["out", "in"] }];
/** Without a hook for what enters the guest. */
export const OUT_ONLY: readonly Part[] = [{ family: "netdev", directions: ["out"] }];
/**
 * What enters the guest is caught as the host's bridges and its routing send it to the device. A packet goes one of the two ways, and which one
 * a device's packets go may change at any time: so both are always there.
 */
export const ON_THE_WAY: readonly Part[] = [
  ...OUT_ONLY,
  { family: "bridge", directions: ["in"] },
  { family: "inet", directions: ["in"] },
];

/**
 * What is the same in a guest's tables whatever is in force:
 *
 *     hook ingress, device "tap0"   iif @bound goto out ─▶ out ─┬▶ out4: DHCP passes; flow, address, port; rest
 *     hook egress,  device "tap0"   oif @bound goto in  ─▶ in   ├▶ out6: the same; then headless_out
 *                                                               └▶ tagged_out
 *
 * `bridge` and `inet` have the hook postrouting in place of egress. That of `bridge` sees what is forwarded and what the host itself sends.
 *
 * `bound` holds the interfaces' indices. A device that is made again under the name has another index, so nothing is in force
 * for it, although the kernel (6.18) binds the chain to it by its name; and with a lease the indices expire: what
 * is in force ends with the one element. `headless_*`, `tagged_*` and `answers_in` are filled by what is in force
 * (`stance.ts`).
 */
export interface Frame {
  readonly table: string;
  /** Text of the guest's name. */
  readonly guest: string;
  readonly interfaces: readonly GuestInterface[];
  readonly parts: readonly Part[];
  /** Whether the kernel can answer at ingress: Linux 5.11. */
  readonly rejects: boolean;
}

/**
 * Ahead of what others hook there, so that a flow is blocked whatever they think of it; `accept` goes on to them. In `inet` behind address translation
 * (100): what counts are the addresses that the guest sees.
 */
const PRIORITY = { netdev: -300, bridge: -300, inet: 200 } as const;
/** A guest may send as much as it likes; the host's log is not its own. */
const LOG_LIMIT: Json = { limit: { rate: 10, per: "second", burst: 20 } };
/**
 * There are no ports behind the first fragment, and the packet passes: nobody makes a packet of fragments without the first, and
 * a later one begins behind the ports and cannot change them. Of IPv6 nft knows that by itself; of IPv4, the kernel (6.18) reads the
 * payload for ports in this hook.
 */
const LATER_FRAGMENT: Json = {
  match: { op: "!=", left: { "&": [{ payload: { protocol: "ip", field: "frag-off" } }, 0x1fff] }, right: 0 },
};
const FAMILIES = [4, 6] as const;
/** Byte at which a frame has its EtherType, or that of its first tag. */
const ETHERTYPE = 12;

export const SIDES = ["out4", "out6", "in4", "in6"] as const;

/** Makes the tables, in place of those that are there. */
export function frameCommands(frame: Frame): Json[] {
  return frame.parts.flatMap((part) => partCommands(frame, part));
}

function partCommands(frame: Frame, part: Part): Json[] {
  const { table } = frame;
  const { family, directions } = part;
  const named = { family, name: table };
  const inTable = { family, table };
  const chain = (name: string): Json => ({ add: { chain: { ...inTable, name } } });
  const rule = (name: string, ...expr: Json[]): Json => ({ add: { rule: { ...inTable, chain: name, expr } } });
  const bound: Json = { ...inTable, name: "bound", type: "iface_index", flags: ["timeout"] };
  return [
    { add: { table: named } },
    { delete: { table: named } },
    { add: { table: named } },
    { add: { set: bound } },
    ...directions.flatMap((direction) => [
      ...directionChains(direction).map(chain),
      ...FAMILIES.flatMap((family) => CLASSES.map((kind) => addMap(inTable, direction, family, kind))),
      ...Array.from(directionRules(frame, direction), ([name, ...expr]) => rule(name, ...expr)),
      ...hooksOf(frame, part, direction).flatMap((hook, index) => hookCommands(frame, part, direction, hook, index)),
    ]),
  ];
}

/** Chains that packets come to, which a listing has to have. */
export function hookNames(frame: Frame, part: Part): string[] {
  return part.directions.flatMap((direction) =>
    hooksOf(frame, part, direction).map((_, index) => hookName(direction, index)),
  );
}

/**
 * Puts the interfaces in force, for that long. Adding an element that is there does not renew its time, and deleting one that has
 * expired fails: so it is added, deleted, and added.
 */
export function bindCommands({ table, interfaces, parts }: Frame, leaseMs: number | null): Json[] {
  const indices = interfaces.map(({ index }) => index);
  const lease = leaseMs === null ? {} : { timeout: Math.ceil(leaseMs / 1000) };
  const bound = indices.map((val) => (leaseMs === null ? val : { elem: { val, ...lease } }));
  return parts.flatMap(({ family }): Json[] => {
    const element = (elem: Json): Json => ({ element: { family, table, name: "bound", elem } });
    return [{ add: element(indices) }, { delete: element(indices) }, { add: element(bound) }];
  });
}

function hookName(direction: Direction, index: number): string {
  return `${direction}_${index}`;
}

type Hook = { readonly hook: string; readonly dev?: string };

/** A device's own, or one that sees those of all devices. */
function hooksOf({ interfaces }: Frame, { family }: Part, direction: Direction): Hook[] {
  if (family !== "netdev") return [{ hook: "postrouting" }];
  return interfaces.map(({ name }) => ({ hook: direction === "out" ? "ingress" : "egress", dev: name }));
}

function hookCommands(
  { table, guest }: Frame,
  { family }: Part,
  direction: Direction,
  hook: Hook,
  index: number,
): Json[] {
  const name = hookName(direction, index);
  const chain = { family, table, name, type: "filter", ...hook, prio: PRIORITY[family], policy: "accept" };
  const key = direction === "out" ? "iif" : "oif";
  const expr = [match({ meta: { key } }, "@bound"), { goto: { target: direction } }];
  return [{ add: { chain } }, { add: { rule: { family, table, chain: name, comment: guestComment(guest), expr } } }];
}

function directionChains(direction: Direction): string[] {
  const sides = FAMILIES.flatMap((family) => [`${direction}${family}`, `rest_${direction}${family}`]);
  const chains = [direction, ...sides, `headless_${direction}`, `tagged_${direction}`, `log_${direction}`];
  return direction === "out" ? [...chains, "reject_out"] : [...chains, "answers_in"];
}

function addMap(inTable: { family: string; table: string }, direction: Direction, family: 4 | 6, kind: Class): Json {
  const address = family === 4 ? "ipv4_addr" : "ipv6_addr";
  const port = ["inet_proto", "inet_service"];
  const types = { flow: [address, ...port, address, "inet_service"], address: [address, ...port], port };
  const name = `${direction}${family}_${kind}`;
  return { add: { map: { ...inTable, name, type: types[kind], map: "verdict", stmt: [{ counter: null }] } } };
}

function* directionRules({ guest, rejects }: Frame, direction: Direction): Generator<[chain: string, ...Json[]]> {
  if (direction === "in") yield [direction, { jump: { target: "answers_in" } }];
  yield [direction, { vmap: { key: { meta: { key: "protocol" } }, data: { set: dispatch(direction) } } }];
  for (const family of FAMILIES) {
    const side = `${direction}${family}`;
    if (family === 4) yield [side, LATER_FRAGMENT, { accept: null }];
    yield [side, ...dhcp(family), { accept: null }];
    for (const kind of CLASSES) {
      yield [side, { vmap: { key: { concat: lookup(direction, family, kind) }, data: `@${side}_${kind}` } }];
    }
    yield [side, { jump: { target: `rest_${side}` } }];
    if (family === 6) yield [side, { goto: { target: `headless_${direction}` } }];
  }
  yield [`log_${direction}`, LOG_LIMIT, { log: { prefix: logPrefix(direction, guest) } }];
  yield [`log_${direction}`, { accept: null }];
  if (direction !== "out" || !rejects) return;
  // The kernel (6.18) answers without the tag: in a network that is not the sender's.
  yield ["reject_out", matchSet(frameBytes(ETHERTYPE, 2), TAGS), { drop: null }];
  yield ["reject_out", match({ meta: { key: "l4proto" } }, 6), { reject: { type: "tcp reset" } }];
  yield ["reject_out", { reject: { type: "icmpx", expr: "port-unreachable" } }];
}

/** By EtherType. */
function dispatch(direction: Direction): Json {
  const to = (target: string): Json => ({ goto: { target } });
  return [
    [protocol.ip, to(`${direction}4`)],
    [protocol.ip6, to(`${direction}6`)],
    ...TAGS.map((tag) => [tag, to(`tagged_${direction}`)]),
  ];
}

/** `l4proto` and `th` are what the kernel found behind IPv4 options and IPv6 extension headers (`ipv6_find_hdr`). */
function lookup(direction: Direction, family: 4 | 6, kind: Class): Json[] {
  const ip = family === 4 ? "ip" : "ip6";
  const address = (field: string): Json => ({ payload: { protocol: ip, field } });
  const port = (field: string): Json => ({ payload: { protocol: "th", field } });
  const [near, nearPort, far, farPort] =
    direction === "out"
      ? [address("saddr"), port("sport"), address("daddr"), port("dport")]
      : [address("daddr"), port("dport"), address("saddr"), port("sport")];
  const local = [{ meta: { key: "l4proto" } }, nearPort!];
  if (kind === "port") return local;
  return kind === "address" ? [near!, ...local] : [near!, ...local, far!, farPort!];
}
