import { describe, expect, it } from "vitest";
import { toNetworkNamespaces } from "../../lib/network-namespace.ts";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { StringTable } from "../../lib/strings.ts";
import { columns, type NamespaceCells, networkColumns } from "../../lib/testing/columns.ts";

const bytes = new TextEncoder().encode("loeth0");
const strings = new StringTable({ bytes, ends: Uint32Array.of(2, 6) });
const namespaces = (...rows: NamespaceCells[]) => toNetworkNamespaces(networkColumns(rows), strings);

const LO = {
  ...{ name: 0, index: 1, flags: 1 },
  addresses: [
    { family: 4, bytes: [127, 0, 0, 1] },
    { family: 6, bytes: [...Array<number>(15).fill(0), 1] },
  ],
};
const CARD = { name: 1, index: 2, mac: [0x52, 0x54, 0, 0x12, 0x34, 0x0f], flags: 3 };

describe("network namespaces", () => {
  it("each have their own devices, and each device its own addresses", () => {
    expect(namespaces({ inode: 8, flags: 1, devices: [LO, CARD] }, { inode: 9 }, { inode: 10, devices: [LO] })).toEqual(
      [
        {
          ...{ inode: 8, initial: true },
          devices: [
            { name: "lo", index: 1, mac: "00:00:00:00:00:00", physical: false, addresses: ["127.0.0.1", "::1"] },
            { name: "eth0", index: 2, mac: "52:54:00:12:34:0f", physical: true, addresses: [] },
          ],
        },
        { inode: 9, initial: false, devices: [] },
        {
          inode: 10,
          initial: false,
          devices: [expect.objectContaining({ name: "lo", addresses: ["127.0.0.1", "::1"] })],
        },
      ],
    );
  });
  it("say null of what could not be told", () => {
    expect(namespaces({ inode: 0, flags: 6 })).toEqual([{ inode: null, initial: null, devices: null }]);
    expect(namespaces({ devices: [{ ...CARD, flags: 4 }] })[0]!.devices).toEqual([
      { name: "eth0", index: 2, mac: null, physical: null, addresses: [] },
    ]);
  });
  it("are in a snapshot and in its JSON alike", () => {
    const snapshot = new WalkedSnapshot({ ...columns([]), ...networkColumns([{ inode: 8, flags: 1 }]) });
    expect(snapshot.networkNamespaces).toEqual([{ inode: 8, initial: true, devices: [] }]);
    expect(snapshot.toJSON().networkNamespaces).toEqual(snapshot.networkNamespaces);
  });
});
