import stringWidth from "string-width";
import { describe, expect, it } from "vitest";
import { formatTable as formatRows } from "../../lib/cli/table.ts";

/** All lines of a table. */
const formatTable = (...table: Parameters<typeof formatRows>) => formatRows(...table).flat();

const COLUMNS = [{ title: "PID", align: "right" }, { title: "COMMAND", flexible: true }, { title: "S" }] as const;

describe("a table", () => {
  it("aligns its columns, numbers to the right", () => {
    expect(
      formatTable(COLUMNS, [
        ["1", "init", "S"],
        ["1234", "sshd", "R"],
      ]),
    ).toEqual([" PID  COMMAND  S", "   1  init     S", "1234  sshd     R"]);
  });
  it("counts the columns of wide characters", () => {
    const lines = formatTable(COLUMNS, [
      ["1", "日本語日本語", "S"],
      ["2", "x", "R"],
    ]);
    expect(lines.map((line) => stringWidth(line))).toEqual([20, 20, 20]);
  });
  it("cuts only what may be cut to fit the terminal", () => {
    const lines = formatTable(COLUMNS, [["1234", "a very long command name", "S"]], 24);
    expect(lines).toEqual([" PID  COMMAND          S", "1234  a very long co…  S"]);
  });
  it("cuts the widest of several columns first", () => {
    const columns = [
      { title: "A", flexible: true },
      { title: "B", flexible: true },
    ];
    const cells = ["a".repeat(24), "b".repeat(20)];
    expect(formatTable(columns, [cells], 42)[1]).toBe(`${"a".repeat(19)}…  ${"b".repeat(20)}`);
    expect(formatTable(columns, [cells], 32)[1]).toBe(`${"a".repeat(14)}…  ${"b".repeat(14)}…`);
  });
  it("never is wider than the terminal", () => {
    const lines = formatTable(COLUMNS, [["1234567890", "日本語日本語日本語", "S"]], 15);
    for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(15);
  });
  it("cuts nothing when it goes to no terminal", () => {
    const [, line] = formatTable(COLUMNS, [["1", "x".repeat(500), "S"]]);
    expect(line).toContain("x".repeat(500));
  });
  it("has its header when there are no rows", () => {
    expect(formatTable(COLUMNS, [])).toEqual(["PID  COMMAND  S"]);
  });

  describe("whose last column wraps", () => {
    const columns = [
      { title: "A", flexible: true, minimum: 4 },
      { title: "N", yields: true },
      { title: "OWNERS", flexible: true, minimum: 8, wraps: true },
    ];
    const owners = ["1/init/3", "2/a b/4", "3/sh/5"];
    it("goes on below itself", () => {
      expect(formatTable(columns, [["aaaa", "7", owners]], 18)).toEqual([
        ...["A     N  OWNERS", "aaaa  7  1/init/3", "         2/a b/4", "         3/sh/5"],
      ]);
    });
    it("gets lines of its own before another column is cut below its minimum", () => {
      expect(
        formatTable(
          columns,
          [
            ["aaaa", "7", owners],
            ["aaaa", "8", "(orphan)"],
          ],
          16,
        ),
      ).toEqual([
        ...["A", "    N OWNERS", "aaaa", "    7 1/init/3", "    2/a b/4", "    3/sh/5", "aaaa", "    8 (orphan)"],
      ]);
    });
    it("shows every character, however narrow the terminal", () => {
      const lines = formatTable(columns, [["aaaa", "7", ["12345/日本語日本語/3"]]], 12);
      expect(lines.slice(3).join("").replaceAll(" ", "")).toBe("712345/日本語日本語/3");
      for (const line of lines) expect(stringWidth(line)).toBeLessThanOrEqual(12);
    });
  });
});
