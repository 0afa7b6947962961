import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { RULE_MEMBERS } from "../../lib/rules/rule-object.ts";
import { made, Polls, socket, type What } from "../lib/rules/made.ts";

// The truth table of docs/rules.md, run row by row.
const text = readFileSync(join(import.meta.dirname, "../../docs/rules.md"), "utf8");
const section = (title: string) => text.split(`# ${title}\n`)[1]!.split("\n#")[0]!;
const rowsOf = (title: string) =>
  Array.from(section(title).matchAll(/^\| (.*) \|$/gm), ([, row]) => row!.split(" | ")).slice(2);
const codes = (cell: string) => Array.from(cell.matchAll(/`([^`]*)`/g), ([, code]) => code!);

const table = rowsOf("The truth table");
const USERS = [1001, 1003];
const processes = USERS.map((uid) => made({ pid: uid, uid, comm: `u${uid}` }));

function read(cell: string, heldBy: string) {
  const [, protocol, mapped, local, remote, rest] =
    /^(tcp|udp|raw) (mapped )?(\S+:\d+)(?: > (\S+:\d+))?((?:,? (?:listening|dual-stack|in a container))*)$/.exec(cell)!;
  const owners = heldBy.startsWith("nobody") ? [] : heldBy.split(/, sk/)[0]!.split(", ").map(Number);
  const sk = /sk (\d+)/.exec(heldBy)?.[1];
  return socket(processes, {
    ...{
      protocol: protocol as NonNullable<What["protocol"]>,
      local: local!,
      owners,
      dualStack: rest!.includes("dual-stack"),
    },
    ...{ netns: rest!.includes("container") ? 2 : 1, ...(remote && { remote }), ...(mapped && { family: 6 as const }) },
    ...(owners.length === 0 && { unownedReason: "orphan" as const }),
    ...(sk !== undefined && { uid: Number(sk) }),
  });
}

describe("the truth table", () => {
  it("has rows", () => expect(table.length).toBeGreaterThan(30));
  it.each(table)("%s held by %s under %s: %s", (what, heldBy, rules, expected) => {
    const { keys, unenforceable } = new Polls(...codes(rules)).poll({ processes, sockets: [read(what, heldBy)] });
    expect(keys).toEqual(codes(expected));
    expect(unenforceable.map(({ reason }) => `cannot: ${reason}`)).toEqual(
      expected.startsWith("cannot") ? [expected] : [],
    );
  });
});

it("docs/rules.md has a row for each member of a rule", () => {
  const named = rowsOf("The two forms").flatMap(([object]) => codes(object!).map((code) => code.split(":")[0]!));
  expect([...new Set(named)].sort()).toEqual([...RULE_MEMBERS].sort());
});

it("docs/rules.md has a row for each reason for which something cannot be enforced", () => {
  const source = readFileSync(join(import.meta.dirname, "../../lib/rules/pattern.ts"), "utf8");
  const reasons = /type UnenforceableReason =(.*?);/s.exec(source)![1]!.match(/[a-z-]+/g)!;
  expect(rowsOf("What cannot be enforced").map(([reason]) => codes(reason!)[0])).toEqual(reasons);
});
