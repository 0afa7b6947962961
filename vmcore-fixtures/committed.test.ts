import { readFileSync, statSync } from "node:fs";
import { expect, it } from "vitest";
import { introspect } from "../lib/index.ts";
import { compare } from "../test/kernels/compare.ts";
import type { Truth } from "./truth.ts";
import { type UnpackedFixture, unpack, unpackCore } from "./unpack.ts";

it("unpacks once, whoever else does the same at that time", async () => {
  const [first, second] = await Promise.all([unpack(), unpack()]);
  expect(first).toEqual(second);
  const { ino } = statSync(first.image);
  await unpack();
  expect(statSync(first.image).ino).toBe(ino);
});

// The image has no users' pages, where arguments are.
it.each<[string, () => Promise<UnpackedFixture>, boolean]>([
  ["the image", unpack, false],
  ["the core of a domain of Xen", unpackCore, true],
])("is read as its guest described itself: %s", async (_, unpacked, details) => {
  const { image, truth } = await unpacked();
  const guest = await introspect(image);
  try {
    const reading = (await guest.snapshot({ details })).toJSON();
    expect(compare(JSON.parse(readFileSync(truth, "utf8")) as Truth, reading)).toEqual([]);
  } finally {
    await guest.close();
  }
});
