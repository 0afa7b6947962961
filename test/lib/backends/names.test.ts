import fc from "fast-check";
import { expect, it } from "vitest";
import { escapeBytes } from "../../../lib/backends/names.ts";
import { guestComment, guestOfComment, logPrefix, tablesOfGuest } from "../../../lib/backends/nftables/names.ts";

it("a guest's table has a name of letters and hex, another for each guest", () => {
  expect(tablesOfGuest('vm "1"; flush ruleset').join()).toMatch(/^(?<name>xfilter_[0-9a-f]{16})0,\k<name>1$/);
  expect(tablesOfGuest("vm1")).not.toEqual(tablesOfGuest("vm2"));
  expect(tablesOfGuest("vm1")).toEqual(tablesOfGuest("vm1"));
});

it("comments and prefixes end no string and fit what the kernel keeps, whatever a guest is called", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (guest) => {
      for (const text of [guestComment(guest), logPrefix("out", guest)]) {
        expect(text).toMatch(/^[ !#-~]*$/);
        expect(text.length).toBeLessThan(128);
      }
    }),
  );
});

it("a name is escaped byte by byte, and cut between them", () => {
  expect(escapeBytes('a"b\\é\n', 100)).toBe("a\\x22b\\x5c\\xc3\\xa9\\x0a");
  expect(escapeBytes("abcdef", 6)).toBe("abcdef");
  expect(escapeBytes("abcdefg", 6)).toBe("abc...");
  expect(escapeBytes("a\n\n\n", 10)).toBe("a\\x0a...");
  expect(guestOfComment(guestComment("vm 1"))).toBe("vm 1");
  expect(guestOfComment("somebody's")).toBeNull();
});
