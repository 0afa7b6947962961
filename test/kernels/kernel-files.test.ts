import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { introspect, type KernelFiles } from "../../lib/index.ts";
import { type Fixture, presentFixtures } from "../../vmcore-fixtures/cache.ts";
import { buildImage } from "../../vmcore-fixtures/image.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { filesOfGuest, type GuestFiles, withoutBtf } from "../kernel-files/guest-files.ts";
import { compare } from "./compare.ts";

function build(name: string): Promise<Fixture> {
  const recipe = recipes.find((candidate) => candidate.name === name)!;
  const log = (line: string) => process.stderr.write(`${line}\n`);
  return buildImage(recipe, { force: false, signal: new AbortController().signal, log });
}

// How a kernel is read that was built without BTF: the image of one that has it, scrubbed.
describe("linux-5.10 without its BTF", () => {
  const folder = mkdtempSync(join(tmpdir(), "xfilter-kernel-files-"));
  let fixture: Fixture;
  let files: GuestFiles;
  let scrubbed: string;
  beforeAll(async () => {
    fixture = presentFixtures(["linux-5.10"])[0] ?? (await build("linux-5.10"));
    files = await filesOfGuest(fixture.raw!, folder);
    scrubbed = await withoutBtf(fixture.raw!, join(folder, "scrubbed.raw"), folder);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("says what to supply", async () => {
    await expect(introspect({ vmcore: scrubbed })).rejects.toMatchObject({ code: "TYPES_NOT_FOUND" });
  });

  it.each<[string, () => KernelFiles]>([
    ["a BTF file", () => ({ types: files.btf })],
    ["a BTF file and a System.map", () => ({ types: files.btf, symbols: files.systemMap })],
    ["an ISF file", () => ({ types: files.isf })],
    ["a profile", () => ({ profile: files.profile })],
  ])("reads what the guest says of itself, with %s", async (_, given) => {
    const guest = await introspect({ vmcore: scrubbed }, given());
    try {
      expect(compare(fixture.truth(), (await guest.snapshot()).toJSON())).toEqual([]);
    } finally {
      await guest.close();
    }
  });
});
