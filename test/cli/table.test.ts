import stringWidth from "string-width";
import { describe, expect, it } from "vitest";
import { formatTable } from "../../lib/cli/table.ts";

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
  it("cuts the last of several columns first", () => {
    const columns = [
      { title: "A", flexible: true },
      { title: "B", flexible: true },
    ];
    expect(formatTable(columns, [["a".repeat(20), "b".repeat(20)]], 36)[1]).toBe(
      `${"a".repeat(20)}  ${"b".repeat(13)}…`,
    );
    expect(formatTable(columns, [["a".repeat(20), "b".repeat(20)]], 30)[1]).toBe(
      `${"a".repeat(15)}…  ${"b".repeat(11)}…`,
    );
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
});
