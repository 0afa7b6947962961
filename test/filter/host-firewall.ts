import { type IptablesVariant, iptables, nftables, type RuleBackend } from "../../lib/backends/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";

/** A firewall of this machine's, and what others may do to it. */
export interface HostFirewall {
  /** As the command takes it. */
  readonly name: string;
  backend(): RuleBackend;
  /** What is xfilter's in it. */
  ours(): Promise<string[]>;
  readonly disturbances: Readonly<Record<string, () => Promise<void>>>;
}

const find = (text: Buffer, pattern: RegExp) => [...new Set(text.toString().match(pattern))];

const nft: HostFirewall = {
  name: "nftables",
  backend: nftables,
  ours: async () => find(await run("nft", ["list", "tables", "netdev"]), /\bxfilter_\w+/g),
  disturbances: {
    "flush it": async () => {
      await run("nft", ["flush", "ruleset"]);
    },
    "delete every table of it": async () => {
      for (const table of await nft.ours()) await run("nft", ["delete", "table", "netdev", table]);
    },
  },
};

function tables(variant: IptablesVariant): HostFirewall {
  const programs = [`iptables-${variant}`, `ip6tables-${variant}`];
  const nothing = Buffer.from("*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n");
  return {
    name: `iptables-${variant}`,
    backend: () => iptables({ variant }),
    ours: async () => {
      const saved = await Promise.all(programs.map((program) => run(`${program}-save`, [])));
      return find(Buffer.concat(saved), /\bxfilter_\w+/g);
    },
    disturbances: {
      "flush it": async () => {
        for (const program of programs) await run(program, ["--flush"]);
      },
      "load rules of their own": async () => {
        for (const program of programs) await run(`${program}-restore`, [], { input: nothing });
      },
    },
  };
}

/** Every firewall that there is a backend for. */
export const hostFirewalls: readonly HostFirewall[] = [nft, tables("nft"), tables("legacy")];
