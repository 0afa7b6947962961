import { type Claim, decide, namedAddresses, type Verdict } from "./claim.ts";
import type { Crowd } from "./crowd.ts";
import { addEnds, DIRECTIONS, type EndsContext, isNever, type Member } from "./ends.ts";
import type { Flow } from "./flow.ts";
import { formatNetwork } from "./network.ts";
import { type NamespaceFacts, ownAddresses } from "./nic.ts";
import type { Direction } from "./rule.ts";
import { describeFlow } from "./unenforced.ts";
import { Unit } from "./unit.ts";

/** @internal Connected sockets, by their ends: a pattern for each, unless another socket has the same ends and nothing to answer for. */
export function connectedUnits(claims: readonly Claim[], crowd: Crowd, context: EndsContext): Map<string, Unit> {
  const units = new Map<string, Unit>();
  const fates = new Map<readonly Member[], SharedFate>();
  for (const { claim, direction, verdict } of decisions(claims, context)) {
    const { flow } = claim;
    const same = crowd.sameEnds(flow);
    const fate = fates.get(same) ?? new SharedFate(same, context);
    fates.set(same, fate);
    // Of what is left of a connection and a socket that has its ends now, the socket counts.
    if (same.length > 0 && !fate.has(claim)) continue;
    if (verdict.rule.action !== "log" && isNever(flow, context)) {
      const what = `${describeFlow(flow)}: its other end is never to be blocked`;
      context.unenforced.add("never-block", verdict.rule, verdict.owner, flow.sock, what);
      continue;
    }
    if (!fate.isThatOf(verdict, direction)) {
      const what = `${describeFlow(flow)}: another socket has the same ends`;
      context.unenforced.add("shared-port", verdict.rule, verdict.owner, flow.sock, what);
      continue;
    }
    const { protocol, families, local } = flow;
    const family = families[0]!;
    const { address, port } = flow.remote!;
    const key = endsKey(flow);
    const unit = units.get(key) ?? new Unit(key);
    units.set(key, unit);
    unit.add(0, { direction, family, protocol, local, remote: { address, ports: [port, port] } }, claim, verdict);
  }
  return units;
}

function endsKey({ protocol, families, local, remote }: Flow): string {
  return `${protocol}${families[0]} ${local.address} ${local.port} ${remote!.address} ${remote!.port}`;
}

/** What blocks connected sockets: in the rules' order, as two sockets may have the same ends. */
function decisions(claims: readonly Claim[], { addresses }: EndsContext) {
  const found: { claim: Claim; direction: Direction; verdict: Verdict }[] = [];
  for (const claim of claims) {
    if (claim.flow.remote === null) continue;
    for (const direction of DIRECTIONS) {
      const verdict = decide(claim, direction, addresses);
      if (verdict && verdict.rule.action !== "accept") found.push({ claim, direction, verdict });
    }
  }
  const bySock = (a: Claim, b: Claim) => Number(a.flow.sock > b.flow.sock) - Number(a.flow.sock < b.flow.sock);
  return found.sort((a, b) => a.verdict.rule.index - b.verdict.rule.index || bySock(a.claim, b.claim));
}

/** Sockets with the same ends, of which a guest may have thousands: what is to become of one's packets becomes of all. */
class SharedFate {
  readonly #members: readonly Member[];
  readonly #claims: ReadonlySet<Claim | null>;
  readonly #context: EndsContext;
  readonly #known = new Map<string, boolean>();

  constructor(members: readonly Member[], context: EndsContext) {
    this.#members = members;
    this.#claims = new Set(members.map(({ claim }) => claim));
    this.#context = context;
  }

  has(claim: Claim): boolean {
    return this.#claims.has(claim);
  }

  /** Whether the packets of all are to be kept, where this verdict keeps them, or logged, where it logs them. */
  isThatOf({ rule }: Verdict, direction: Direction): boolean {
    const logs = rule.action === "log";
    const key = `${direction} ${logs}`;
    let known = this.#known.get(key);
    if (known === undefined) {
      known = this.#members.every(({ claim }) => {
        const own = claim && decide(claim, direction, this.#context.addresses)?.rule.action;
        return own != null && own !== "accept" && (own === "log") === logs;
      });
      this.#known.set(key, known);
    }
    return known;
  }
}

/** @internal Sockets that are not connected: all of one port together, since their patterns are wider than a socket. */
export function portUnits(
  claims: readonly Claim[],
  connected: ReadonlyMap<string, Unit>,
  crowd: Crowd,
  namespaces: readonly NamespaceFacts[] | undefined,
  context: EndsContext,
): Unit[] {
  const units = new Map<string, Unit>();
  for (const { flow } of claims) {
    if (flow.remote !== null) continue;
    for (const family of flow.families) {
      const key = `${flow.protocol}${family} ${flow.local.port}`;
      if (units.has(key)) continue;
      const unit = new Unit(key);
      units.set(key, unit);
      const members = crowd.atPort(flow.protocol, family, flow.local.port);
      const named = new Set(members.flatMap((member) => namedBy(member, family, namespaces, context)));
      for (const direction of DIRECTIONS) addEnds(unit, members, named, family, direction, context);
      const wider = { in: unit.widerActions("in"), out: unit.widerActions("out") };
      for (const member of members) {
        const own = member.flow.remote && member.claim && connected.get(endsKey(member.flow));
        if (own) unit.follow(own, wider);
      }
    }
  }
  return [...units.values()];
}

/** Local addresses that rules name for a socket that is bound to none. */
function namedBy(
  { flow, claim }: Member,
  family: 4 | 6,
  namespaces: readonly NamespaceFacts[] | undefined,
  { unenforced }: EndsContext,
): string[] {
  if (claim === null || flow.remote !== null || flow.local.address !== null) return [];
  const [named, unknown] = namedAddresses(claim, ownAddresses(namespaces, flow.netns));
  for (const { rule, owner } of unknown) {
    if (rule.action === "accept") continue;
    const what = `${describeFlow(flow)}: is bound to no address, and which the guest has is not known`;
    unenforced.add("local-network", rule, owner, flow.sock, what);
  }
  return named.filter((network) => network.family === family).map(formatNetwork);
}
