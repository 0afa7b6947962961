import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

// The tables of docs/filter.md name what the library has, in its order.
const read = (path: string) => readFileSync(join(import.meta.dirname, "../..", path), "utf8");
const document = read("docs/filter.md").replaceAll("\\|", "");

/** The words in backticks of the first cells of the table under this header. */
function named(header: string): string[] {
  const [, rows] = document.split(`\n| ${header} |`)[1]!.split(/^\| --- .*\n/m);
  const [table] = rows!.split("\n\n");
  return Array.from(table!.matchAll(/^\| ([^|]*) \|/gm), ([, cell]) => cell!.match(/`\w+/g)!)
    .flat()
    .map((name) => name.slice(1));
}

/** Members of an interface in a file of lib/filter. */
function members(file: string, name: string): string[] {
  const [, body] = new RegExp(`^export interface ${name}\\b.*?\\{\\n(.*?)^\\}`, "ms").exec(read(`lib/filter/${file}`))!;
  return Array.from(body!.matchAll(/^ {2}(?:readonly )?(\w+)\??[(:]/gm), ([, member]) => member!);
}

describe("docs/filter.md", () => {
  it("has a row for each member of a filter", () => {
    expect(named("member").sort()).toEqual(expect.arrayContaining(members("filter.ts", "Filter").sort()));
  });
  it("has a row for each option", () => expect(named("option")).toEqual(members("options.ts", "FilterOptions")));
  it("has a row for each field of the status", () =>
    expect(named("field")).toEqual(members("filter.ts", "FilterStatus")));
  it("has a row for each event", () => {
    const types = Array.from(read("lib/filter/event.ts").matchAll(/readonly type: "(\w+)"/g), ([, type]) => type!);
    expect(types.length).toBeGreaterThan(10);
    expect(named("`type`").sort()).toEqual(types.sort());
  });
});
