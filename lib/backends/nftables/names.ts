import { createHash } from "node:crypto";

/** All names of ours: a fixed prefix and hex. Others break `nft list ruleset | nft -f -` ("1vm.ex" is taken, and then no word). */
export const TABLE_PREFIX = "xfilter_";

/** Bytes of a comment that the kernel keeps (NFTNL_UDATA_COMMENT_MAXLEN), without the final 0. */
const MAX_COMMENT = 127;
const MARK = "guest ";
const CUT = "...";

/** Names of the two tables that a guest (`GuestScope.id`) may have: while one is in force, the other is made that takes its place. */
export function tablesOfGuest(guest: string): readonly [string, string] {
  const name = `${TABLE_PREFIX}${digest(guest)}`;
  return [`${name}0`, `${name}1`];
}

/** 16 digits that stand for a text. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** A comment that tells whose table it is, as far as there is room. */
export function guestComment(guest: string): string {
  return MARK + escapeBytes(guest, MAX_COMMENT - MARK.length);
}

/** What lines of the host's log begin with. Of more than 127 bytes nft 1.0.6 dies. */
export function logPrefix(direction: string, guest: string): string {
  return `xfilter ${direction} ${escapeBytes(guest, 80)}: `;
}

/** The guest of a comment, escaped; null if it is not one of ours. */
export function guestOfComment(comment: string): string | null {
  return comment.startsWith(MARK) ? comment.slice(MARK.length) : null;
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
