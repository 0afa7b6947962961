import { describe, expect, it } from "vitest";
import { checkMemoryMap, parseMemoryMap } from "../../lib/memory-map.ts";

const GiB = 2 ** 30;

describe("a memory map", () => {
  it("may be given in numbers and bigints", () => {
    const map = [
      { start: 0, size: 2 * GiB, offset: 0 },
      { start: 0x1_0000_0000n, size: BigInt(2 * GiB), offset: 2 * GiB },
    ];
    expect(checkMemoryMap(map)).toEqual([
      { start: 0n, size: 0x8000_0000n, offset: 0n },
      { start: 0x1_0000_0000n, size: 0x8000_0000n, offset: 0x8000_0000n },
    ]);
    expect(checkMemoryMap(undefined)).toBeUndefined();
  });

  const entry = { start: 0, size: 4096, offset: 0 };
  it.each([
    ["no entries", []],
    ["an empty piece", [{ ...entry, size: 0 }]],
    ["half a page", [{ ...entry, size: 2048 }]],
    ["a start within a page", [{ ...entry, start: 1 }]],
    ["a negative offset", [{ ...entry, offset: -1n }]],
    ["a fraction", [{ ...entry, offset: 0.5 }]],
    ["more than a number holds", [{ ...entry, start: 2 ** 60 }]],
    ["an address beyond the machine's", [{ ...entry, start: 1n << 52n }]],
    ["one address twice", [entry, { ...entry, offset: 4096 }]],
    [
      "overlapping pieces",
      [
        { ...entry, start: 4096 },
        { ...entry, size: 8192 },
      ],
    ],
  ])("with %s is out of range", (_, map) => {
    expect(() => checkMemoryMap(map)).toThrow(
      expect.objectContaining({ name: "RangeError", code: "ERR_INVALID_OPTION" }),
    );
  });
  it.each([
    [{}],
    ["0:1:2"],
    [[null]],
    [[{ start: "0", size: 4096, offset: 0 }]],
    [[{ ...entry, end: 1 }]],
    [[{ start: 0 }]],
  ])("%j is of the wrong type", (map) => {
    const error = { name: "TypeError", code: "ERR_INVALID_OPTION" };
    expect(() => checkMemoryMap(map as never)).toThrow(expect.objectContaining(error));
  });

  it("is written START:SIZE:OFFSET on the command line", () => {
    expect(parseMemoryMap("0:0x80000000:0,0x100000000:4096:0x80000000")).toEqual([
      { start: 0n, size: 0x8000_0000n, offset: 0n },
      { start: 0x1_0000_0000n, size: 4096n, offset: 0x8000_0000n },
    ]);
  });
  it.each(["", "0:1", "0:1:2:3", "0:1:x", "0:1:-2", "0:1:2,"])("of the text %j is refused", (text) => {
    expect(() => parseMemoryMap(text)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });
});
