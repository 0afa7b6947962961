import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

// docs/cli.md shows the JSON of the command, which is a contract: what it shows is what is printed.
const root = join(import.meta.dirname, "../..");
const text = readFileSync(join(root, "docs/cli.md"), "utf8").split("\n## JSON\n")[1]!;
let image: string;

beforeAll(async () => {
  ({ image } = await unpack());
});

/** The objects that the command prints for the image. */
function printed(command: string): Record<string, unknown>[] {
  const args = [join(root, "dist/cli/main.js"), ...command.split(" "), "--json", image];
  const lines = execFileSync(process.execPath, args, { encoding: "utf8" }).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The indented block below the line that starts with the command's name. */
function shown(command: string): Record<string, unknown> {
  const [, block] = new RegExp(`^\`${command}\`.*:\\n\\n((?: {4}.*\\n)+)`, "m").exec(text) ?? [];
  return JSON.parse(block!) as Record<string, unknown>;
}

/** Names in order, with those of what lies within; of an array its first element's. */
function fields(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(fields);
  if (typeof value !== "object" || value === null) return "value";
  return Object.entries(value).map(([name, within]) => [name, fields(within)]);
}

describe("the JSON in docs/cli.md", () => {
  it.each(["ps", "ss", "ss --other"])("of %s has the fields that are printed, in their order", (command) => {
    const like = shown(command);
    expect(printed(command).map(fields)).toContainEqual(fields(like));
    for (const object of printed(command)) expect(Object.keys(object)).toEqual(Object.keys(like));
  });
  it("of ps --details has what it adds at its end", () => {
    const added = Array.from(/^`ps`, (.*):$/m.exec(text)![1]!.matchAll(/`(\w+)`/g), ([, name]) => name);
    const names = Object.keys(shown("ps"));
    for (const object of printed("ps --details")) expect(Object.keys(object)).toEqual([...names, ...added]);
  });
  it("of info names each field", () => {
    const [, listed] = /`info` prints one object, .*?: (.*?)\.\n/s.exec(text)!;
    const names = Array.from(listed!.matchAll(/`(\w+)`/g), ([, name]) => name);
    expect(Object.keys(printed("info")[0]!)).toEqual(names);
  });
});
