import { existsSync, readFileSync } from "node:fs";
import { refuseTheMachinesOwnNetwork } from "../../vmcore-fixtures/lab.ts";
import { sh } from "./network.ts";

const SAVES = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"].map((name) => `${name}-save`);

/**
 * All rules of this network namespace, of nftables and of both variants of iptables, without counters. Left out are chains of a table filter in which
 * there is nothing, and the order in which its chains were made: whoever first asks iptables for them makes them, and they stay.
 */
export function ruleset(): string {
  return all((text) => text);
}

/** The same without what is xfilter's. */
export function rulesetOfOthers(): string {
  return all((text) =>
    text
      .replace(/^table \w+ xfilter_[\s\S]*?\n\}\n?/gm, "")
      .replace(/^\tchain xfilter_[\s\S]*?\n\t\}\n/gm, "")
      .replace(/^.*xfilter_.*\n/gm, ""),
  );
}

function all(select: (text: string) => string): string {
  const lines = (text: string) => select(text).replace(/\n{2,}/g, "\n");
  const nft = sh("nft --stateless list ruleset 2> /dev/null").split(/\n(?=table )/);
  const saved = SAVES.map((name) => `# ${name}\n${lines(sh(`${name} 2> /dev/null`))}`);
  return [
    ...nft.map((table) => inOneOrder(lines(`${table.trimEnd()}\n`))).sort(),
    ...saved.map(withoutEmptyTables),
  ].join("");
}

function inOneOrder(table: string): string {
  const [head, chains] = /^(table ip6? filter \{\n)([\s\S]*)\}\n$/.exec(table)?.slice(1) ?? [];
  if (head === undefined) return table;
  const held = chains!.split(/(?<=\n\t\}\n)/).filter((chain) => !EMPTY.test(chain));
  return held.length === 0 ? "" : `${head}${held.sort().join("")}}\n`;
}

const EMPTY = /^\tchain \w+ \{\n\t\ttype filter hook \w+ priority filter; policy accept;\n\t\}\n$/;

function withoutEmptyTables(text: string): string {
  return text
    .replace(/^#(?! ip6?tables-).*\n/gm, "")
    .replace(/\[\d+:\d+\]/g, "")
    .replace(/^\*\w+\n(?::\w+ ACCEPT \n)*COMMIT\n/gm, "");
}

/** Leaves no rule in this network namespace, of whomever. */
export function clearRulesets(): void {
  refuseTheMachinesOwnNetwork();
  sh("nft flush ruleset");
  for (const [command, names] of [
    ["iptables-legacy", "/proc/self/net/ip_tables_names"],
    ["ip6tables-legacy", "/proc/self/net/ip6_tables_names"],
  ] as const) {
    if (!existsSync(names)) continue;
    for (const table of readFileSync(names, "utf8").split("\n").filter(Boolean)) {
      sh(`${command} -w -t ${table} -F; ${command} -w -t ${table} -X`);
      for (const [, chain] of sh(`${command}-save -t ${table}`).matchAll(/^:(\S+) DROP/gm))
        sh(`${command} -w -t ${table} -P ${chain} ACCEPT`);
    }
  }
}
