import { type Command, InvalidArgumentError, Option } from "commander";
import { notEmpty } from "./command.ts";
import { parseDuration } from "./duration.ts";
import { type FirewallName, firewallOption } from "./firewalls.ts";
import { intervalOption } from "./interval.ts";
import { STATE_DIRECTORY } from "./status-file.ts";

/** Flags of `filter` and `block`. */
export interface FilterFlags {
  readonly rules: string;
  readonly backend: FirewallName | "dry-run";
  readonly like?: FirewallName;
  readonly interface?: readonly string[];
  readonly interval: number;
  readonly audit?: string;
  readonly metrics?: string;
  readonly keep?: boolean;
  readonly pause?: boolean;
  readonly hold?: "walk" | "apply";
  readonly onUnreadable?: "hold" | "release" | "widen";
  readonly lease?: number;
  readonly neverBlock?: readonly string[];
  readonly flushConntrackZone?: number;
  readonly state: string;
}

export const DAY_MS = 86_400_000;

/** An unset variable of a shell's is not uid 0. */
export function wholeNumber(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a whole number.");
}

const more = (value: string, before: readonly string[] = []) => [...before, notEmpty(value)];

/** Gives a command the flags that both have. */
export function withFlags(command: Command): Command {
  return command
    .hook("preAction", () => {
      const { hold, pause, flushConntrackZone, like, backend } = command.opts<FilterFlags>();
      if (hold && !pause) command.error("error: --hold is for --pause");
      if (like && backend !== "dry-run") command.error("error: --like is for --backend dry-run");
      if (flushConntrackZone !== undefined && !backend.startsWith("iptables"))
        command.error("error: --flush-conntrack-zone is for --backend iptables");
    })
    .addOption(firewallOption("--backend", "what holds the rules", "dry-run").default("nftables"))
    .addOption(firewallOption("--like", "with --backend dry-run: what would hold them, nftables if not given"))
    .option(
      "--interface <NAME>",
      "the host's device that is the guest's, instead of those that QEMU has open, or Xen has for it; again for more",
      more,
    )
    .addOption(intervalOption(200, "200ms"))
    .option("--audit <FILE>", "append a line of JSON for each change", notEmpty)
    .option("--metrics <FILE>", "keep metrics in a file, for node_exporter (NAME.prom); needs prom-client", notEmpty)
    .option("--keep", "leave what is in force in the firewall when this ends")
    .addOption(
      new Option(
        "--hold <UNTIL>",
        "with --pause: the guest stands still for the walk, or until the firewall holds the plan",
      ).choices(["walk", "apply"]),
    )
    .addOption(
      new Option(
        "--on-unreadable <WHAT>",
        "while the guest cannot be read: keep what is in force, take it out, or apply the rules to everybody",
      ).choices(["hold", "release", "widen"]),
    )
    .option(
      "--lease <TIME>",
      "what is in force ends so long after this process died; default: it stays",
      parseDuration(DAY_MS),
    )
    .option(
      "--flush-conntrack-zone <ZONE>",
      "with iptables: delete what the host's connection tracking has of a blocked flow, in this guest's own zone",
      wholeNumber,
    )
    .option("--never-block <NETWORK>", "an address or network that no rule blocks; again for more", more)
    .option(
      "--state <DIRECTORY>",
      "where pins and verdicts survive this process; not with dry-run",
      notEmpty,
      STATE_DIRECTORY,
    );
}
