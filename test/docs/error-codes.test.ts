import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const sorted = (codes: Iterable<string>) => [...new Set(codes)].sort();

const errors = read("lib/errors.ts");
const codes = sorted(/^const CODES = \[(.*?)\]/ms.exec(errors)![1]!.match(/\w+/g)!);

it("each error code is explained where it is declared", () => {
  expect(sorted(Array.from(errors.matchAll(/^ \* \| `([A-Z_]+)` \|/gm), ([, code]) => code!))).toEqual(codes);
});

it("docs/operations.md says of each error code what happened and what to do, once", () => {
  const [, section] = read("docs/operations.md").split("\n## Error codes\n");
  const rows = Array.from(section!.matchAll(/^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$/gm), ([, code]) => code!);
  expect(rows.sort()).toEqual(codes);
});

it("the addon gives no code that the library does not declare", () => {
  const sources = readdirSync(join(root, "binding"), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(cc|h)$/.test(name))
    .map((name) => read(join("binding", name)))
    .join("\n");
  const given = Array.from(
    sources.matchAll(/(?:failure\(|Error\{|return \{|^\s*\{)\s*"([A-Z]+_[A-Z_]+|ABORTED|CLOSED)"/gm),
    ([, code]) => code!,
  );
  expect(given).toContain("KERNEL_NOT_FOUND");
  expect(codes).toEqual(expect.arrayContaining(sorted(given)));
});
