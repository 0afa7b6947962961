import type { Socket } from "../socket.ts";
import { candidates } from "../socket-rows.ts";
import type { FoundClaim } from "./claims.ts";
import type { Member } from "./ends.ts";
import { type Flow, isFlowProtocol, isLoopback, toFlow } from "./flow.ts";
import type { RuleProtocol } from "./rule.ts";

/** @internal The sockets at the local ports of which rules have something to say: those they mean, and the others. */
export class Crowd {
  readonly #atPort = new Map<string, Member[]>();
  readonly #sameEnds = new Map<string, Member[]>();

  /** `asking`: the claims at whose ports it is to look. */
  constructor(
    sockets: Iterable<Socket>,
    claims: readonly FoundClaim[],
    asking: readonly FoundClaim[],
    nics: ReadonlySet<number> | null,
  ) {
    if (asking.length === 0) return;
    const ports = new Set(asking.map(({ flow }) => flow.local.port));
    const claimOf = new Map(claims.map((claim) => [claim.socket, claim]));
    const members: Member[] = [];
    for (const socket of candidates(sockets, { localPorts: ports })) {
      if (!isFlowProtocol(socket.protocol) || !ports.has(socket.local.port)) continue;
      const claim = claimOf.get(socket) ?? null;
      const flow = claim ? claim.flow : toFlow(socket);
      if (flow === null || (!claim && !passes(flow, nics))) continue;
      const reason = socket.unownedReason;
      const listeners = reason === "syn-recv" || reason === "not-accepted";
      members.push({ flow, claim, listeners, owned: reason === null });
    }
    for (const claim of claims) {
      if (claim.socket === null && ports.has(claim.flow.local.port))
        members.push({ flow: claim.flow, claim, listeners: false, owned: false });
    }
    members.sort((a, b) => Number(a.flow.sock > b.flow.sock) - Number(a.flow.sock < b.flow.sock));
    for (const member of members) this.#add(member);
  }

  #add(member: Member): void {
    const { protocol, families, local } = member.flow;
    for (const family of families) push(this.#atPort, portKey(protocol, family, local.port), member);
    if (member.owned && member.flow.remote) push(this.#sameEnds, endsKey(member.flow), member);
  }

  /** All at a local port, by sock. */
  atPort(protocol: RuleProtocol, family: 4 | 6, port: number): readonly Member[] {
    return this.#atPort.get(portKey(protocol, family, port)) ?? [];
  }

  /** Connected sockets with the ends of this one that processes hold; itself, too. */
  sameEnds(flow: Flow): readonly Member[] {
    return this.#sameEnds.get(endsKey(flow)) ?? [];
  }
}

/** Whether its packets can be met outside of the guest. */
function passes(flow: Flow, nics: ReadonlySet<number> | null): boolean {
  return !isLoopback(flow) && (nics === null || flow.netns === null || nics.has(flow.netns));
}

function push(table: Map<string, Member[]>, key: string, member: Member): void {
  const there = table.get(key);
  if (there) there.push(member);
  else table.set(key, [member]);
}

function portKey(protocol: RuleProtocol, family: 4 | 6, port: number): string {
  return `${protocol}${family} ${port}`;
}

function endsKey({ protocol, local, remote }: Flow): string {
  return `${protocol} ${local.address} ${local.port} ${remote?.address} ${remote?.port}`;
}
