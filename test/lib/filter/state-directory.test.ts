import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { StateDirectory } from "../../../lib/filter/state-directory.ts";

const directory = mkdtempSync(join(tmpdir(), "xfilter-state-"));
afterAll(() => rmSync(directory, { recursive: true }));

it("a directory for the state is made, and taken where it is there", () => {
  const path = join(directory, "there");
  new StateDirectory(path);
  new StateDirectory(path);
  expect(existsSync(path)).toBe(true);
});

it("those above it are not made: that need not end", () => {
  const path = join(directory, "no/state");
  expect(() => new StateDirectory(path)).toThrow(expect.objectContaining({ code: "STATE_IO" }));
  expect(existsSync(join(directory, "no"))).toBe(false);
});
