import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readRules } from "../../lib/cli/rules-file.ts";
import { formatRule } from "../../lib/rules/index.ts";

const directory = mkdtempSync(join(tmpdir(), "xfilter-rules-"));
const file = join(directory, "rules");
const { signal } = new AbortController();

afterAll(() => rmSync(directory, { recursive: true }));

async function read(text: string | Uint8Array) {
  writeFileSync(file, text);
  const warnings: string[] = [];
  const rules = await readRules(file, { signal, warn: (message) => warnings.push(message) });
  return { rules: rules.map(formatRule), warnings };
}

describe("a file of rules", () => {
  it.each([
    ["a rule twice", ["deny ip from any to any uid 1", "", "deny ip from any to any uid 1"], [3, 1]],
    ["an exception twice", ["allow ip from any to any uid 1", "allow ip from any to any uid 1"], [2, 1]],
    ["what another has decided", ["deny ip from any to any uid 1", "allow ip from any to any uid 1 // but"], [2, 1]],
    ["what another has decided for longer", ["log ip from any to any", "deny ip from any to any for 1m"], [2, 1]],
  ])("is warned of for %s", async (_, lines, [line, first]) => {
    const { rules, warnings } = await read(lines.join("\n"));
    expect(rules).toEqual(lines.filter((line) => line !== ""));
    const why = `${file}:${first} asks the same, and the first rule decides`;
    expect(warnings).toEqual([`${file}:${line} has no effect: ${why}`]);
  });

  it.each([
    // Of several owners all have to match for an exception, and one is enough to be blocked.
    [["allow ip from any to any uid 1", "deny ip from any to any uid 1"]],
    [["deny ip from any to any for 1m", "deny ip from any to any"]],
    [["deny ip from any to any out", "deny ip from any to any in"]],
  ])("is not warned of where both of %j may decide", async (lines) => {
    expect((await read(lines.join("\n"))).warnings).toEqual([]);
  });

  it("names rules in JSON by their place", async () => {
    const rule = { action: "drop", uid: 1 };
    const why = "rules[1] has no effect: rules[0] asks the same, and the first rule decides";
    expect((await read(JSON.stringify([rule, rule]))).warnings).toEqual([why]);
  });

  it.each(["", "# nothing\n", "[]", '{ "rules": [] }'])("without a rule is warned of: %j", async (text) => {
    expect((await read(text)).warnings).toEqual([`${file} has no rules: nothing is filtered by it`]);
  });

  it.each([
    ["bytes that are no UTF-8", Buffer.from('deny ip from any to any comm "\xff\xfe"', "latin1")],
    ["zeros", "deny ip from any to any\0"],
  ])("with %s is refused without being quoted", async (_, text) => {
    await expect(read(text)).rejects.toThrow(`${file} is not text in UTF-8. Give a file of rules.`);
  });

  it("that is too large is refused", async () => {
    await expect(read(Buffer.alloc((4 << 20) + 1, "\n"))).rejects.toThrow("4 MiB");
  });

  it("that is none, or is not there, is named with what to do", async () => {
    const options = { signal, warn: expect.unreachable };
    mkdirSync(join(directory, "sub"));
    const isNone = `${join(directory, "sub")} is neither a file nor a pipe. Give a file of rules.`;
    await expect(readRules(join(directory, "sub"), options)).rejects.toThrow(isNone);
    const missing = `${file}.no cannot be read: no such file or directory (ENOENT). Give a file of rules.`;
    await expect(readRules(`${file}.no`, options)).rejects.toThrow(missing);
  });

  it("may be a pipe", async () => {
    const pipe = join(directory, "pipe");
    execFileSync("mkfifo", [pipe]);
    const rules = readRules(pipe, { signal, warn: expect.unreachable });
    const writer = spawn("sh", ["-c", `echo "deny ip from any to any uid 1" > ${pipe}`]);
    expect((await rules).map(formatRule)).toEqual(["deny ip from any to any uid 1"]);
    await new Promise((resolve) => (writer.exitCode === null ? writer.once("close", resolve) : resolve(null)));
  });

  it("that nobody writes is waited for until Ctrl-C", async () => {
    const pipe = join(directory, "nobody");
    execFileSync("mkfifo", [pipe]);
    const interrupt = new AbortController();
    const rules = readRules(pipe, { signal: interrupt.signal, warn: expect.unreachable });
    interrupt.abort();
    await expect(rules).rejects.toMatchObject({ name: "AbortError" });
  });
});
