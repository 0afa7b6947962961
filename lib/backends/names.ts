import { createHash } from "node:crypto";

/** What names of ours begin with. Hex follows: others break `nft list ruleset | nft -f -` ("1vm.ex" is taken, and then no word). */
export const PREFIX = "xfilter_";

const CUT = "...";

/** 16 digits that stand for a text. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/**
 * A text as at most `limit` characters of ASCII without quotes, which end a string of nft's: other bytes become `\xNN`. What
 * does not fit ends in "...".
 */
export function escapeBytes(text: string, limit: number): string {
  let escaped = "";
  let fits = 0;
  for (const byte of Buffer.from(text)) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    escaped += plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
    if (escaped.length > limit) return escaped.slice(0, fits) + CUT;
    if (escaped.length <= limit - CUT.length) fits = escaped.length;
  }
  return escaped;
}
