import { execFileSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const MiB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), "xfilter-bad-input-"));
const at = (name: string) => join(folder, name);
let image: string;

beforeAll(async () => {
  ({ image } = await unpack());
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: Uint8Array | string): string {
  writeFileSync(at(name), content);
  return at(name);
}

function copied(name: string, change: (path: string) => void): string {
  copyFileSync(image, at(name));
  chmodSync(at(name), 0o600);
  change(at(name));
  return at(name);
}

function hole(name: string, size: number): string {
  const path = file(name, "");
  truncateSync(path, size);
  return path;
}

function fifo(name: string): string {
  execFileSync("mkfifo", [at(name)]);
  return at(name);
}

interface Segment {
  readonly physical: number;
  readonly offset: number;
  readonly size: number;
}

/** The memory that an ELF core stores. */
function segments(core: Buffer): Segment[] {
  const [start, count] = [Number(core.readBigUInt64LE(32)), core.readUInt16LE(56)];
  return Array.from({ length: count }, (_, i) => start + 56 * i)
    .filter((header) => core.readUInt32LE(header) === 1)
    .map((header) => ({
      physical: Number(core.readBigUInt64LE(header + 24)),
      offset: Number(core.readBigUInt64LE(header + 8)),
      size: Number(core.readBigUInt64LE(header + 32)),
    }))
    .filter(({ size }) => size > 0);
}

/** The same memory as a raw file: what the core does not store is a hole. */
function raw(name: string, size: number): string {
  const core = readFileSync(image);
  const fd = openSync(at(name), "w");
  ftruncateSync(fd, size);
  for (const { physical, offset, size: stored } of segments(core)) {
    if (physical < size) writeSync(fd, core, offset, Math.min(stored, size - physical), physical);
  }
  closeSync(fd);
  return at(name);
}

/** With zeros in place of each table that the kernel's own root table may be: all pages that end as it does. */
function withoutRootTables(path: string): void {
  const core = readFileSync(path);
  const zeros = Buffer.alloc(4096);
  const fd = openSync(path, "r+");
  for (const { offset, size } of segments(core)) {
    for (let page = offset; page + 4096 <= offset + size; page += 4096) {
      const last = core.readBigUInt64LE(page + 4088);
      if ((last & 0xfff0_0000_0000_009bn) === 3n) writeSync(fd, zeros, 0, 4096, page);
    }
  }
  closeSync(fd);
}

const asHalf = (path: string) => truncateSync(path, Math.floor(statSync(path).size / 2));
const ofMachine = (machine: number) => (path: string) => {
  const fd = openSync(path, "r+");
  writeSync(fd, Uint8Array.of(machine, 0), 0, 2, 18);
  closeSync(fd);
};

describe("what is not a guest's memory, or not all of it,", () => {
  it.each<[string, () => string, string, RegExp]>([
    ["zeros", () => file("zeros", new Uint8Array(64 * MiB)), "KERNEL_NOT_FOUND", /No Linux kernel/],
    [
      "random bytes",
      () => file("random", randomFillSync(Buffer.alloc(64 * MiB))),
      "KERNEL_NOT_FOUND",
      /No Linux kernel/,
    ],
    ["all ones", () => file("ones", Buffer.alloc(64 * MiB, 0xff)), "KERNEL_NOT_FOUND", /No Linux kernel/],
    ["a hole", () => hole("hole", 8 * 1024 * MiB), "KERNEL_NOT_FOUND", /No Linux/],
    ["the first half of an ELF core", () => copied("half.elf", asHalf), "SOURCE_TRUNCATED", /ends early/],
    ["the first half of a raw file", () => raw("half.raw", 48 * MiB), "SOURCE_TRUNCATED", /kernel uses memory up to/],
    ["an overwritten root page table", () => copied("rootless", withoutRootTables), "KERNEL_NOT_FOUND", /page tables/],
    ["a core of an aarch64 machine", () => copied("arm", ofMachine(0xb7)), "SOURCE_FORMAT", /aarch64/],
    ["a text", () => file("text", "root:x:0:0:root:/root:/bin/bash\n"), "SOURCE_FORMAT", /not a memory image/],
    ["a directory", () => folder, "SOURCE_FORMAT", /directory/],
    ["a program", () => process.execPath, "SOURCE_FORMAT", /not a core/],
    ["a compressed file", () => file("image.gz", Uint8Array.of(0x1f, 0x8b, 8, 0)), "SOURCE_FORMAT", /gzip.*unpack/],
    ["a LiME dump cut short", () => file("lime", `EMiL\x01\0\0\0${"\0".repeat(40)}`), "SOURCE_TRUNCATED", /LiME/],
    ["nothing", () => at("nowhere"), "SOURCE_NOT_FOUND", /No such file/],
    ["a FIFO", () => fifo("fifo"), "SOURCE_FORMAT", /FIFO/],
  ])("%s, is an error that says so", async (_, make, code, what) => {
    const path = make();
    const start = performance.now();
    const error = await introspect({ vmcore: path }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "XFilterError", code, message: expect.stringMatching(what) });
    expect((error as { advice: string }).advice).toMatch(/^[A-Z].*\.$/s);
    // Not a measurement, a bound: nothing of this is searched for ever.
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it.skipIf(process.getuid?.() === 0)("a file without permission, is an error that says so", async () => {
    const path = copied("forbidden", (copy) => chmodSync(copy, 0));
    await expect(introspect({ vmcore: path })).rejects.toMatchObject({ code: "SOURCE_PERMISSION" });
  });

  it("a file that is cut off while it is open, is an error and no smaller guest", async () => {
    const path = copied("shrinking", () => {});
    const guest = await introspect({ vmcore: path });
    try {
      truncateSync(path, MiB);
      await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_TRUNCATED" });
      await expect(guest.cpus()).rejects.toMatchObject({ code: "SOURCE_TRUNCATED" });
    } finally {
      await guest.close();
    }
  });

  it("a memory map that goes beyond the file, is an error that says so", async () => {
    const memoryMap = [{ start: 0, size: 1024 * MiB, offset: 0 }];
    await expect(introspect({ vmcore: image }, { memoryMap })).rejects.toMatchObject({ code: "SOURCE_TRUNCATED" });
  });
});

describe("the same memory in other forms", () => {
  const processes = async (path: string, memoryMap?: { start: number; size: number; offset: number }[]) => {
    const guest = await introspect({ vmcore: path }, { memoryMap });
    try {
      const { kernel } = guest;
      return { format: kernel.format, processes: (await guest.snapshot()).processes.toArray().map((p) => p.toJSON()) };
    } finally {
      await guest.close();
    }
  };
  it("gives the same guest: a raw file", async () => {
    expect(await processes(raw("whole.raw", 96 * MiB))).toEqual({ ...(await processes(image)), format: "raw" });
  });
  it("gives the same guest: pieces of a file, by a map", async () => {
    const map = segments(readFileSync(image)).map(({ physical, offset, size }) => ({ start: physical, size, offset }));
    // The core has left out the last pages of RAM, where nothing is: the map repeats one for them.
    const last = { start: 96 * MiB - 4096, size: 4096, offset: map[0]!.offset };
    const whole = map.some(({ start, size }) => start + size >= 96 * MiB) ? map : [...map, last];
    expect(await processes(image, whole)).toEqual({ ...(await processes(image)), format: "raw" });
  });
  it("gives the same guest: a LiME dump", async () => {
    const core = readFileSync(image);
    const ranges = segments(core).flatMap(({ physical, offset, size }) => {
      const header = Buffer.alloc(32);
      header.write("EMiL", "latin1");
      header.writeUInt32LE(1, 4);
      header.writeBigUInt64LE(BigInt(physical), 8);
      header.writeBigUInt64LE(BigInt(physical + size - 1), 16);
      return [header, core.subarray(offset, offset + size)];
    });
    const path = file("image.lime", Buffer.concat(ranges));
    expect(await processes(path)).toEqual({ ...(await processes(image)), format: "lime" });
  });
});
