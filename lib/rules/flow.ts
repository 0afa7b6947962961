import type { Endpoint, Protocol, Socket } from "../socket.ts";
import { contains, type Network, parseNetwork } from "./network.ts";
import type { RuleProtocol } from "./rule.ts";

/** @internal A socket as a firewall sees it. */
export interface Flow {
  readonly sock: bigint;
  readonly inode: number;
  readonly netns: number | null;
  readonly protocol: RuleProtocol;
  /** IP versions of its packets: two of a dual-stack socket. */
  readonly families: readonly (4 | 6)[];
  /** null: bound to no address. */
  readonly local: { readonly address: string | null; readonly port: number };
  /** null: not connected. */
  readonly remote: Endpoint | null;
}

const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "udplite"] satisfies RuleProtocol[];

/** @internal Whether the protocol has flows by ports. */
export function isFlowProtocol(protocol: Protocol): protocol is RuleProtocol {
  return PROTOCOLS.includes(protocol);
}

/** @internal null: no packet goes by this socket as it is. */
export function toFlow(socket: Socket): Flow | null {
  const { protocol, local } = socket;
  // A closed TCP socket may keep its addresses, while its port is another's already.
  if (!isFlowProtocol(protocol) || local.port === 0 || (protocol === "tcp" && socket.state === "CLOSE")) return null;
  const { sock, inode, netns } = socket;
  const remote = socket.remote;
  const connected = remote.port !== 0 || !isWildcard(remote.address);
  return {
    ...{ sock, inode, netns, protocol },
    families: connected ? [familyOf(remote.address)] : boundFamilies(socket, local.address),
    local: { address: isWildcard(local.address) ? null : local.address, port: local.port },
    remote: connected ? remote : null,
  };
}

function boundFamilies({ family, dualStack }: Socket, local: string): (4 | 6)[] {
  // An IPv6 socket may be bound to an IPv4 address.
  if (family === 6 && isWildcard(local)) return dualStack ? [4, 6] : [6];
  return [familyOf(local)];
}

function familyOf(address: string): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}

function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

/** @internal Whether its packets stay in the guest. */
export function isLoopback({ local, remote }: Flow): boolean {
  return [local.address, remote?.address].some(isLoopbackAddress) || local.address === remote?.address;
}

/** @internal */
export function isLoopbackAddress(address: string | null | undefined): boolean {
  return address != null && (address.startsWith("127.") || address === "::1");
}

/** @internal The same for the same ends, protocol and namespace. */
export function tupleKey({ netns, protocol, families, local, remote }: Omit<Flow, "sock" | "inode">): string {
  const there = remote === null ? "*" : `${remote.address} ${remote.port}`;
  return `${netns} ${protocol} ${families.join()} ${local.address ?? "*"} ${local.port} ${there}`;
}

/** @internal Whether an address lies in one of the networks. Of the addresses that it sees it remembers the parsed form. */
export class AddressBook {
  readonly #parsed = new Map<string, Network>();

  parse(address: string): Network {
    const known = this.#parsed.get(address);
    if (known) return known;
    // Addresses of a snapshot are addresses.
    const network = parseNetwork(address)!;
    this.#parsed.set(address, network);
    return network;
  }

  within(address: string, networks: readonly Network[]): boolean {
    const network = this.parse(address);
    return networks.some((outer) => contains(outer, network));
  }
}
