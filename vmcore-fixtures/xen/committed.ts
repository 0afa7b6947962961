import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { here } from "../cache.ts";
import { compressed } from "../committed.ts";
import type { Core } from "./cores.ts";

export const committedCore = "images/xen-pv-5.10.core.br";
export const committedCoreTruth = "images/xen-pv-5.10.truth.json";

const pageSize = 4096;

/** The contents of a cpio archive in the "newc" format: a header of 110 characters, a name, the content, each padded to 4 bytes. */
function* filesOf(archive: Buffer): Generator<Buffer> {
  const padded = (size: number) => (size + 3) & ~3;
  for (let at = 0; archive.toString("latin1", at, at + 6) === "070701"; ) {
    const field = (offset: number) => Number.parseInt(archive.toString("latin1", at + offset, at + offset + 8), 16);
    const [size, start] = [field(54), at + padded(110 + field(94))];
    yield archive.subarray(start, start + size);
    at = start + padded(size);
  }
}

/**
 * Zeros the pages that are a page of a file of the guest's initramfs: the page cache of its programs and modules, which nobody reads.
 * Returns how many there were.
 */
function leaveOutFiles(core: Buffer, archive: Buffer): number {
  const known = new Set<string>();
  const zeros = Buffer.alloc(pageSize);
  for (const file of filesOf(archive))
    for (let at = 0; at < file.length; at += pageSize) {
      const page = Buffer.alloc(pageSize);
      file.copy(page, 0, at);
      if (!page.equals(zeros)) known.add(page.toString("latin1"));
    }
  let count = 0;
  // xl puts its pages at multiples of a page in the file.
  for (let at = 0; at + pageSize <= core.length; at += pageSize) {
    if (!known.has(core.toString("latin1", at, at + pageSize))) continue;
    core.fill(0, at, at + pageSize);
    ++count;
  }
  return count;
}

/** Leaves out what the guest has of its files, and compresses the rest to the committed file. */
export async function packCore({ core, initramfs, directory }: Core): Promise<number> {
  const memory = await readFile(core);
  if (leaveOutFiles(memory, gunzipSync(await readFile(initramfs))) === 0)
    throw new Error(`${core} has no page of ${initramfs}: they do not belong together`);
  const packed = await compressed(memory);
  await writeFile(join(here, committedCore), packed);
  await writeFile(join(here, committedCoreTruth), await readFile(join(directory, "truth.json")));
  await writeFile(join(here, "images/xen-pv-5.10.domain.json"), await readFile(join(directory, "domain.json")));
  return packed.length;
}
