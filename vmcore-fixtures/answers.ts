import { type Endpoint, sockaddrEndpoint } from "./endpoint.ts";
import type { Protocol } from "./proc-net.ts";

export type OtherKind = "packet" | "vsock" | "xdp" | "sctp" | "dccp" | "smc" | "raw-header";

const MPTCP = 262;

/** The answers of getsockopt and friends for one socket, with names and types. */
export class Answers {
  private readonly values: Map<string, string>;

  constructor(values: Map<string, string>) {
    this.values = values;
  }

  number(key: string): number {
    return Number(this.values.get(key));
  }

  endpoint(key: "local" | "remote"): Endpoint | null {
    const [family = "", hex = ""] = (this.values.get(key) ?? "").split(":");
    return family === "2" || family === "10" ? sockaddrEndpoint(Number(family), hex) : null;
  }

  get family(): 4 | 6 | null {
    return ({ 2: 4, 10: 6 }[this.number("domain")] as 4 | 6 | undefined) ?? null;
  }

  get mptcp(): boolean {
    return this.number("protocol") === MPTCP;
  }

  get protocol(): Protocol | null {
    if (this.family === null) return null;
    if (this.number("type") === 3) return "raw";
    const names: Record<number, Protocol> = {
      1: "icmp",
      6: "tcp",
      17: "udp",
      58: "icmp",
      136: "udplite",
      [MPTCP]: "tcp",
    };
    return names[this.number("protocol")] ?? null;
  }

  /** A sender that no flow describes: see `OtherSocketTruth`. */
  get otherKind(): OtherKind | null {
    const domains: Record<number, OtherKind> = { 17: "packet", 40: "vsock", 43: "smc", 44: "xdp" };
    const protocols: Record<number, OtherKind> = { 33: "dccp", 132: "sctp", 256: "smc" };
    if (this.family === null) return domains[this.number("domain")] ?? null;
    // IPPROTO_RAW (255) implies it, unless it was taken back.
    const header = this.values.get("header") ?? (this.number("protocol") === 255 ? "1" : "0");
    if (this.number("type") === 3) return header === "1" ? "raw-header" : null;
    return protocols[this.number("protocol")] ?? null;
  }

  /**
   * What comes to an IPv6 wildcard socket that waits for anybody may be IPv4, unless it is IPV6_V6ONLY. Raw and ping
   * sockets are of one family.
   */
  receivesBoth(protocol: Protocol, state: string, local: Endpoint): boolean {
    const waits = protocol === "tcp" ? state === "LISTEN" : protocol.startsWith("udp") && state === "UNCONN";
    const wildcard = local.address === "::" && local.port !== 0;
    return this.family === 6 && waits && wildcard && this.number("v6only") === 0;
  }
}
