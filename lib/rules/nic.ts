import { type Network, parseNetwork } from "./network.ts";
import type { ProcessIndex } from "./pins.ts";

/** @internal As much of a snapshot's network namespaces as a plan needs. */
export interface NamespaceFacts {
  readonly inode: number | null;
  readonly initial: boolean | null;
  readonly devices: readonly { readonly physical: boolean | null; readonly addresses: readonly string[] }[] | null;
}

/**
 * @internal The network namespaces that own a network card; null: not known, and taken for all. Where the namespaces were not read,
 * only the one of process 1 is believed to have one: what another's sockets send is rewritten in most guests. So it is where none
 * has a card, in a guest that was given none, or one that was not told for a card.
 */
export function nicNamespaces(
  namespaces: readonly NamespaceFacts[] | undefined,
  processes: ProcessIndex,
): ReadonlySet<number> | null {
  if (namespaces && namespaces.length > 0) {
    const owning = namespaces.filter(({ inode, initial, devices }) =>
      inode === null
        ? false
        : devices === null
          ? initial === true
          : devices.some(({ physical }) => physical ?? initial === true),
    );
    if (owning.length > 0) return new Set(owning.map(({ inode }) => inode!));
  }
  const first = processes.get(1)?.netns ?? null;
  return first === null ? null : new Set([first]);
}

/** @internal The guest's own addresses in a namespace; null: not known. */
export function ownAddresses(
  namespaces: readonly NamespaceFacts[] | undefined,
  netns: number | null,
): Network[] | null {
  const devices = namespaces?.find(({ inode }) => inode !== null && inode === netns)?.devices;
  return devices ? devices.flatMap(({ addresses }) => addresses).flatMap((text) => parseNetwork(text) ?? []) : null;
}
