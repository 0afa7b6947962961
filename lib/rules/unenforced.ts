import type { Owner } from "../socket.ts";
import type { Flow } from "./flow.ts";
import type { Matcher } from "./matcher.ts";
import type { Unenforceable, UnenforceableReason } from "./pattern.ts";

/** @internal What a plan cannot do, each thing once. */
export class Unenforced {
  readonly #entries = new Map<string, Unenforceable>();

  add(reason: UnenforceableReason, { index }: Matcher, owner: Owner | null, sock: bigint, what: string): void {
    const key = `${reason} ${index} ${sock}`;
    const there = this.#entries.get(key);
    // Of several words for one thing, those that do not depend on which was found first.
    if (!there || what < there.what) this.#entries.set(key, { reason, rule: index, sock, owner, what });
  }

  /** By rule, then sock, whatever the order in which they were found. */
  list(): Unenforceable[] {
    const order = (a: Unenforceable, b: Unenforceable) =>
      a.rule - b.rule || Number(a.sock > b.sock) - Number(a.sock < b.sock) || (a.reason < b.reason ? -1 : 1);
    return [...this.#entries.values()].sort(order);
  }
}

/** @internal A flow for people: "tcp 10.0.2.15:40312 to 192.0.2.7:22". */
export function describeFlow({ protocol, families, local, remote }: Flow): string {
  const end = (address: string | null, port: number) =>
    address === null ? `*:${port}` : address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  const here = `${protocol}${families.length === 1 ? families[0] : ""} ${end(local.address, local.port)}`;
  return remote === null ? here : `${here} to ${end(remote.address, remote.port)}`;
}
