import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unpack } from "../../vmcore-fixtures/unpack.ts";
import { withoutBtf } from "../kernel-files/guest-files.ts";

const command = join(import.meta.dirname, "../../dist/cli/main.js");
const folder = mkdtempSync(join(tmpdir(), "xfilter-profile-"));
const output = join(folder, "profile.json");
let image: string;

beforeAll(async () => {
  ({ image } = await unpack());
});
afterAll(() => rmSync(folder, { recursive: true }));

function xfilter(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("xfilter profile", () => {
  it("makes a small file of a guest's kernel, by which the guest is read", () => {
    expect(xfilter("profile", "--guest", image, "-o", output)).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(readFileSync(output).length).toBeLessThan(16 * 1024);
    const own = xfilter("ss", "--json", image);
    expect(own.status).toBe(0);
    expect(xfilter("ss", "--json", "--profile", output, image)).toEqual(own);
    const { stdout } = xfilter("info", "--profile", output, image);
    expect(stdout).toMatch(/^symbols from +a file that was given\ntypes from +a file that was given$/m);
  });
  it("is what the command advises, by its own options, of a guest that tells no types", async () => {
    const scrubbed = await withoutBtf(image, join(folder, "no-btf.elf"), folder);
    expect(xfilter("ps", scrubbed)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^xfilter: TYPES_NOT_FOUND: .*\(--types\).*\(--profile\)\.\n$/),
    });
  });
  it("prints it when it is not told where to write", () => {
    xfilter("profile", "--guest", image, "-o", output);
    expect(xfilter("profile", output).stdout).toBe(readFileSync(output, "utf8"));
  });
  it("says which file cannot be written", () => {
    const path = join(folder, "no", "profile.json");
    expect(xfilter("profile", "--guest", image, "-o", path)).toMatchObject({
      status: 1,
      stderr: `xfilter: OUTPUT: ${path} could not be written: no such file or directory (ENOENT). Give a path that can be written.\n`,
    });
  });
  it("writes nothing when it fails", () => {
    const path = join(folder, "never.json");
    writeFileSync(join(folder, "text"), "no types");
    const failed = xfilter("profile", join(folder, "text"), "-o", path);
    expect(failed).toMatchObject({ status: 1, stderr: expect.stringMatching(/^xfilter: TYPES_INVALID: /) });
    expect(existsSync(path)).toBe(false);
  });
  it.each([
    [["profile", "--guest", "--symbols", "map", "image"]],
    [["ps", "--types", "", "image"]],
    [["ps", "--profile", "p", "--types", "t", "image"]],
    [["profile"]],
  ])("calls %j wrong", (args) => {
    expect(xfilter(...args)).toMatchObject({ status: 2, stderr: expect.stringMatching(/^xfilter: USAGE: /) });
  });
});
