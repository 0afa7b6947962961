import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseMemoryTree } from "../../lib/sources/mtree.ts";

/** What `info mtree -f` printed in QEMU 7.2. */
const recorded = (name: string) => readFileSync(join(import.meta.dirname, "mtree", `${name}.txt`), "utf8");

const hex = (text: string) =>
  parseMemoryTree(text).map(({ start, size }) => `${start.toString(16)}+${size.toString(16)}`);

describe("QEMU's memory tree", () => {
  it.each([
    // The VGA's memory has no address before the firmware gave it one.
    ["q35-768M", ["0+a0000", "100000+2ff00000"]],
    ["pc-768M", ["0+a0000", "100000+2ff00000"]],
    ["q35-4G", ["0+a0000", "100000+7ff00000", "100000000+80000000"]],
    // 256 MiB were plugged in above.
    ["pc-4G-hotplug", ["0+c0000", "100000+bff00000", "100000000+40000000", "140000000+10000000"]],
    // Each node's memory is a region of its own.
    ["q35-numa", ["0+c0000", "100000+3ff00000", "40000000+40000000", "100000000+80000000"]],
    // The firmware's shadow is read-only, and RAM of the guest all the same.
    ["q35-96M-running", ["0+6000000"]],
  ])("of %s shows the guest's RAM and nothing else", (name, ranges) => {
    expect(hex(recorded(name))).toEqual(ranges);
  });

  const view = (...lines: string[]) =>
    `FlatView #0\n AS "memory", root: system\n Root memory region: system\n${lines.map((line) => `  ${line}\n`).join("")}\n`;

  it("leaves out devices' memory, ROM, and what has no end", () => {
    const text = view(
      "0000000000000000-0000000000000fff (prio 0, ram): pc.ram KVM",
      "0000000000001000-0000000000001fff (prio 0, romd): flash",
      "0000000000002000-0000000000002fff (prio 0, rom): pc.rom",
      "0000000000003000-0000000000003fff (prio 0, ramd): vfio",
      "0000000000004000-0000000000004fff (prio -1, i/o): hpet",
      "0000000000005000-ffffffffffffffff (prio 0, ram): odd",
    );
    expect(hex(text)).toEqual(["0+1000"]);
  });
  it("joins neighbours only where they are neighbours in the region, too", () => {
    const text = view(
      "0000000000000000-0000000000000fff (prio 0, ram): a",
      "0000000000001000-0000000000001fff (prio 0, ram): a @0000000000001000",
      "0000000000002000-0000000000002fff (prio 0, ram): a @0000000000008000",
      "0000000000003000-0000000000003fff (prio 0, ram): b @0000000000009000",
    );
    expect(hex(text)).toEqual(["0+2000", "2000+1000", "3000+1000"]);
  });
  it("of another form, or of another address space, shows nothing", () => {
    const other = `FlatView #0\n AS "I/O", root: io\n  0000000000000000-0000000000000fff (prio 0, ram): a\n`;
    for (const text of ["", "unknown command", other, "FlatView #"]) expect(hex(text)).toEqual([]);
  });
});
