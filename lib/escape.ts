/**
 * A guest's text made safe and honest for a terminal: controls, bidi overrides and everything else that is not a
 * visible character become `\xNN`, `\uNNNN` or `\u{NNNNN}`; a backslash is doubled, so that nobody can write an escape.
 */
export function escapeText(text: string): string {
  // Cc, Cf, Cs, Co, Cn; line and paragraph separators; spaces that are not the space; a mark that would join what
  // stands in front.
  return text.replace(/\\|[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|^\p{M}/gu, (character) =>
    character === "\\" ? "\\\\" : escapeCodePoint(character.codePointAt(0)!),
  );
}

/** A guest's text as one word: in quotes where spaces, quotes or nothing at all could let it pass for other than that. */
export function escapeWord(text: string, plain = /^[^\s"]+$/): string {
  const escaped = escapeText(text);
  return plain.test(escaped) ? escaped : `"${escaped.replaceAll('"', '\\"')}"`;
}

function escapeCodePoint(point: number): string {
  const digits = point.toString(16);
  if (point <= 0xff) return `\\x${digits.padStart(2, "0")}`;
  return point <= 0xffff ? `\\u${digits.padStart(4, "0")}` : `\\u{${digits}}`;
}

/** One line of JSON that a terminal can show: what JSON may leave raw but acts on a terminal is written `\uNNNN`. */
export function escapeJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split("")
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
