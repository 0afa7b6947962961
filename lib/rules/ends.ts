import { bites, type Claim, type Demand, decide, demands } from "./claim.ts";
import type { AddressBook, Flow } from "./flow.ts";
import { contains, type Network, formatNetwork as networkText, overlap } from "./network.ts";
import type { Direction } from "./rule.ts";
import { describeFlow, type Unenforced } from "./unenforced.ts";
import type { Unit } from "./unit.ts";

/** @internal */
export const DIRECTIONS: readonly Direction[] = ["out", "in"];

/** @internal A socket at a local port, with what the rules say of it. */
export interface Member {
  readonly flow: Flow;
  /** null: nothing. */
  readonly claim: Claim | null;
  /** A connection that its listener has not yet given to anybody: what holds for the listener holds for it. */
  readonly listeners: boolean;
  /** Whether a process holds it. */
  readonly owned: boolean;
}

/** @internal What the ends of a port are made with. */
export interface EndsContext {
  readonly addresses: AddressBook;
  readonly neverBlock: readonly Network[];
  readonly unenforced: Unenforced;
}

type Asked = Demand & {
  readonly claim: Claim;
  /** Place among what its socket asks for. */
  readonly place: number;
};

/**
 * @internal Patterns for sockets of one port, IP version and way that are not connected, and the exceptions that keep others' flows out of them.
 * `named`: local addresses that rules name for sockets that are bound to none.
 */
export function addEnds(
  unit: Unit,
  members: readonly Member[],
  named: ReadonlySet<string>,
  family: 4 | 6,
  direction: Direction,
  context: EndsContext,
): void {
  const unconnected = members.filter(({ flow }) => flow.remote === null);
  const free: Member[] = [];
  const bound = new Map<string, Member[]>();
  for (const member of unconnected) {
    const { address } = member.flow.local;
    const there = address === null ? free : bound.get(address);
    if (there) there.push(member);
    else bound.set(address!, [member]);
  }
  const [first] = unconnected;
  if (!first) return;
  const { protocol, local } = first.flow;
  const end = (address: string | null, remote: Demand["remote"]) => ({
    ...{ direction, family, protocol, local: { address, port: local.port }, remote },
  });
  const open = settle(free, null, family, direction, context);
  const met = distinct(open);
  const bitten = met.some(bites);
  /** What a packet of a local address meets, where it is not the same as of any address. */
  const ends = new Map<string | null, readonly Asked[]>();
  let shared: string | null = null;
  for (const address of [...new Set([...bound.keys(), ...named])].sort()) {
    const there = bound.get(address) ?? [];
    const all = named.has(address) ? [...there, ...free] : there;
    const asked = settle(all, address, family, direction, context);
    // What no rule decides would go on to the patterns for any address.
    const falls = bitten && there.length > 0 && !asked.some((demand) => bites(demand) && isAll(demand));
    ends.set(address, falls ? distinct(asked) : [...distinct(asked), ...met]);
    if (!bitten && !asked.some(bites)) continue;
    addAsked(unit, 1, asked, (remote) => end(address, remote), context);
    if (!falls) continue;
    unit.except(1, end(address, ANY), there[0]!.flow.sock);
    if (direction === "out") shared ??= address;
  }
  // A socket that is bound to no address may send from one that another is bound to, too.
  for (const { claim, verdict } of shared === null ? [] : open.filter(bites)) {
    const what = `${describeFlow(claim.flow)}: what it sends from ${shared} looks like another socket's`;
    context.unenforced.add("shared-port", verdict.rule, verdict.owner, claim.flow.sock, what);
  }
  if (bitten) addAsked(unit, 2, open, (remote) => end(null, remote), context);

  for (const { flow, claim, listeners } of members) {
    if (flow.remote === null || listeners) continue;
    const decision = claim && decide(claim, direction, context.addresses);
    const blocked = decision && decision.rule.action !== "accept";
    if (blocked || !isHit(flow, ends.get(flow.local.address) ?? met, context.addresses)) continue;
    const { address, port } = flow.remote;
    const remote = { address, ports: [port, port] as const };
    const pattern = end(flow.local.address, remote);
    if (decision?.rule.action === "accept") unit.add(0, pattern, claim!, decision);
    else unit.except(0, pattern, flow.sock);
  }
}

const ANY = { address: null, ports: null };

function isAll({ remote }: Demand): boolean {
  return remote.address === null && remote.ports === null;
}

/** @internal Whether the operator said that this flow is never to be blocked. */
export function isNever({ remote }: Flow, { addresses, neverBlock }: EndsContext): boolean {
  return remote !== null && addresses.within(remote.address, neverBlock);
}

/**
 * What the rules ask at one end, all of its sockets taken together: packets cannot be told apart by whose they are, so what
 * blocks them has to be asked of each of them. What lets them go is taken from anyone.
 */
function settle(
  members: readonly Member[],
  address: string | null,
  family: 4 | 6,
  direction: Direction,
  { addresses, unenforced }: EndsContext,
): Asked[] {
  const lists = members.map(({ claim }) =>
    claim === null
      ? []
      : demands(claim, family, address, direction, addresses).map((demand, place) => ({ ...demand, claim, place })),
  );
  // A guest may have thousands of sockets at one end, but rules ask of them the same few things.
  const kinds = [...new Map(lists.map((list) => [list.map(keyOf).join("; "), list])).values()];
  const everybodys = new Map<string, boolean>();
  const isEverybodys = (demand: Asked) => {
    const key = keyOf(demand);
    const known = everybodys.get(key) ?? kinds.every((list) => list.some((other) => covers(other, demand)));
    everybodys.set(key, known);
    return known;
  };
  const asked = lists.flat().filter((demand) => {
    if (!bites(demand) || isEverybodys(demand)) return true;
    const { verdict, claim } = demand;
    const what = `${describeFlow(claim.flow)}: others use the same local address and port`;
    unenforced.add("shared-port", verdict.rule, verdict.owner, claim.flow.sock, what);
    return false;
  });
  return asked.sort((a, b) => a.verdict.rule.index - b.verdict.rule.index || a.place - b.place);
}

function keyOf({ verdict, remote: { address, ports } }: Demand): string {
  return `${verdict.rule.index} ${address} ${ports}`;
}

/** Of demands for the same packets by the same rule, the first. */
function distinct(asked: readonly Asked[]): Asked[] {
  const found = new Map<string, Asked>();
  for (const demand of asked) {
    const key = keyOf(demand);
    if (!found.has(key)) found.set(key, demand);
  }
  return [...found.values()];
}

/** Whether the first does to all packets of the second what it does, or as much. */
function covers(outer: Asked, inner: Asked): boolean {
  if (!bites(outer) || (outer.verdict.rule.action === "log") !== (inner.verdict.rule.action === "log")) return false;
  const address = outer.network === null || (inner.network !== null && contains(outer.network, inner.network));
  const [from, to] = outer.remote.ports ?? [0, 0xffff];
  const [first, last] = inner.remote.ports ?? [0, 0xffff];
  return address && from <= first && last <= to;
}

function addAsked(
  unit: Unit,
  rank: 1 | 2,
  asked: readonly Asked[],
  end: (remote: Demand["remote"]) => Parameters<Unit["except"]>[1],
  { neverBlock }: EndsContext,
): void {
  const stops = asked.filter(({ verdict: { rule } }) => rule.action === "drop" || rule.action === "reject");
  const family = end(ANY).family;
  for (const network of neverBlock) {
    const meets = network.family === family && stops.find((stop) => !stop.network || overlap(stop.network, network));
    if (meets) unit.except(rank, end({ address: networkText(network), ports: null }), meets.claim.flow.sock);
  }
  for (const { verdict, claim, remote } of asked) unit.add(rank, end(remote), claim, verdict);
}

/** Whether the first pattern that a connected socket's packets would come to blocks them. */
function isHit({ remote }: Flow, asked: readonly Asked[], addresses: AddressBook): boolean {
  const first = asked.find(
    ({ network, remote: { ports } }) =>
      (network === null || addresses.within(remote!.address, [network])) &&
      (ports === null || (ports[0] <= remote!.port && remote!.port <= ports[1])),
  );
  return first !== undefined && bites(first);
}
