import { Option } from "commander";
import type { RuleBackend } from "../backends/backend.ts";
import { type IptablesOptions, iptables, nftables } from "../backends/index.ts";

/** Backends of this host's firewalls, as options name them. */
export const FIREWALLS = {
  nftables,
  iptables,
  "iptables-nft": (options) => iptables({ variant: "nft", ...options }),
  "iptables-legacy": (options) => iptables({ variant: "legacy", ...options }),
} satisfies Record<string, (options: IptablesOptions) => RuleBackend>;

export type FirewallName = keyof typeof FIREWALLS;

/** An option that names a backend, one of these or one of some others. */
export function firewallOption(flag: string, help: string, ...others: readonly string[]): Option {
  return new Option(`${flag} <NAME>`, help).choices([...Object.keys(FIREWALLS), ...others]);
}
