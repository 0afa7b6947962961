import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { escapeJson, escapeText, escapeWord } from "../../lib/escape.ts";

/** What acts on a terminal or hides on it. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const guestText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc
    .array(fc.constantFrom("\x1b", "\x9b", "\u202e", "\\", "a", "\u2028", "\ud800", '"'))
    .map((parts) => parts.join("")),
);

describe("a guest's text on a terminal", () => {
  it("is itself when it is harmless", () => {
    expect(escapeText("kworker/0:1 größe 日本 🦀")).toBe("kworker/0:1 größe 日本 🦀");
  });
  it.each([
    ["\x1b[31m", "\\x1b[31m"],
    ["a\nb", "a\\x0ab"],
    ["\x7f", "\\x7f"],
    ["\x9b2J", "\\x9b2J"],
    ["\u202egnp.exe", "\\u202egnp.exe"],
    ["\u2028\u2029", "\\u2028\\u2029"],
    ["\u200b", "\\u200b"],
    ["\u{e0041}", "\\u{e0041}"],
    ["\ud800", "\\ud800"],
    ["\u00a0", "\\xa0"],
    ["\u0301x", "\\u0301x"],
    ["\\x1b", "\\\\x1b"],
  ])("shows %j as %s", (text, shown) => {
    expect(escapeText(text)).toBe(shown);
  });
  it("never acts on it", () => {
    fc.assert(fc.property(guestText, (text) => !UNSAFE.test(escapeText(text))));
  });
});

describe("a guest's word on a terminal", () => {
  it.each([
    ["--port=22", "--port=22"],
    ["管理", "管理"],
    ["a b", '"a b"'],
    ['say "a"', '"say \\"a\\""'],
    ["", '""'],
    ["\x1b[2J\\", "\\x1b[2J\\\\"],
  ])("shows %j as %s", (text, shown) => {
    expect(escapeWord(text)).toBe(shown);
  });
  it("never acts on it", () => {
    fc.assert(fc.property(guestText, (text) => !UNSAFE.test(escapeWord(text))));
  });
});

describe("a line of JSON", () => {
  it("means what it meant", () => {
    fc.assert(
      fc.property(guestText, (text) => {
        expect(JSON.parse(escapeJson({ text }))).toEqual({ text });
      }),
    );
  });
  it("never acts on a terminal", () => {
    fc.assert(fc.property(guestText, (text) => !UNSAFE.test(escapeJson({ text }))));
  });
  it("writes what lies beyond the first plane as two units", () => {
    expect(escapeJson("\u{e0041}")).toBe('"\\udb40\\udc41"');
  });
});
