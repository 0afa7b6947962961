import { digest, escapeBytes, PREFIX } from "../names.ts";

/** Bytes of a comment that the kernel keeps (NFTNL_UDATA_COMMENT_MAXLEN), without the final 0. */
const MAX_COMMENT = 127;
const MARK = "guest ";

/** Names of the two tables that a guest (`GuestScope.id`) may have: while one is in force, the other is made that takes its place. */
export function tablesOfGuest(guest: string): readonly [string, string] {
  const name = `${PREFIX}${digest(guest)}`;
  return [`${name}0`, `${name}1`];
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
