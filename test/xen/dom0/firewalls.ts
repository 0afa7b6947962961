import { iptables, nftables } from "xfilter-core/backends";

/** Dom0's. */
export const firewalls = {
  nftables,
  "iptables-nft": () => iptables({ variant: "nft" }),
  "iptables-legacy": () => iptables({ variant: "legacy" }),
};

export type Firewall = keyof typeof firewalls;
