import { digest, escapeBytes, PREFIX } from "../names.ts";

/** Bytes of a comment. iptables takes 255, what nft lists of them is 127. */
const MAX_COMMENT = 127;
/** Bytes of a prefix of LOG. */
const MAX_LOG = 29;
const MARK = "guest ";

/** Digits of base 36 that hold all of a digest. */
const GUEST_DIGITS = 13;

/** What the names of all chains of a guest (`GuestScope.id`) begin with. At most seven more characters follow: iptables takes 28. */
export function chainsOfGuest(guest: string): string {
  return (
    PREFIX +
    BigInt(`0x${digest(guest)}`)
      .toString(36)
      .padStart(GUEST_DIGITS, "0")
  );
}

/** The start of a chain's name, as `chainsOfGuest` makes it; null if the chain is none of ours. */
export function guestOfChain(chain: string): string | null {
  return CHAIN.exec(chain)?.[1] ?? null;
}

const CHAIN = new RegExp(`^(${PREFIX}[0-9a-z]{${GUEST_DIGITS}})_[oi](?:[gh]|[tul](?:[0-9a-z]{4})?)?$`);

/** A comment that tells whose chain it is, quoted as iptables-restore reads and iptables-save prints it. */
export function guestComment(guest: string): string {
  const text = MARK + escapeBytes(guest, MAX_COMMENT - MARK.length);
  return `"${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}"`;
}

/** The guest of a rule that holds such a comment, escaped; null if there is none. */
export function guestOfRule(rule: string): string | null {
  // Words without spaces are printed without quotes.
  const [, text] = / --comment "((?:[^"\\]|\\.)*)"$/.exec(` ${rule}`) ?? [];
  const plain = text?.replace(/\\(.)/g, "$1");
  return plain?.startsWith(MARK) ? plain.slice(MARK.length) : null;
}

/** What lines of the host's log begin with: of a long name its end, which tells guests apart. */
export function logPrefix(direction: string, guest: string): string {
  const frame = `xfilter ${direction} : `;
  return `"xfilter ${direction} ${guest.replace(/[^\w.:/@-]/g, "_").slice(frame.length - MAX_LOG)}: "`;
}
