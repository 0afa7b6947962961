import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompress, constants } from "node:zlib";
import { cacheDirectory, type Fixture, here } from "./cache.ts";
import { run } from "./command.ts";

export const committedImage = "images/linux-6.1.elf.br";
export const committedTruth = "images/linux-6.1.truth.json";

/** The name of the recipe that is committed. */
export const committedRecipe = "linux-6.1-small";

const brotliOptions = {
  params: {
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
  },
};

/** As small as it gets; of an image that takes minutes. */
export function compressed(bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    brotliCompress(bytes, brotliOptions, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

/**
 * QEMU puts section headers between the ELF header and the program headers. makedumpfile 1.7.2 does not look at e_phoff
 * and expects the program headers at 64: they are moved there, and the section, which nobody needs, is forgotten.
 */
function programHeadersFirst(elf: Buffer): Buffer {
  const [offset, count] = [Number(elf.readBigUInt64LE(0x20)), elf.readUInt16LE(0x38)];
  elf.copy(elf, 64, offset, offset + 56 * count);
  elf.writeBigUInt64LE(64n, 0x20);
  elf.writeBigUInt64LE(0n, 0x28); // e_shoff
  elf.fill(0, 0x3a, 0x40); // e_shentsize, e_shnum, e_shstrndx
  return elf;
}

/** Leaves out free, zero, cache and user pages, and compresses the rest to the committed file. */
export async function packCommitted(fixture: Fixture): Promise<number> {
  const work = join(cacheDirectory(), `.packing-${process.pid}`);
  const texts = await Promise.all(["truth.json", "guest.json"].map((name) => readFile(join(fixture.directory, name))));
  await mkdir(work, { recursive: true });
  try {
    await writeFile(join(work, "whole.elf"), programHeadersFirst(await readFile(fixture.elf!)));
    await run("makedumpfile", ["-E", "-d", "31", join(work, "whole.elf"), join(work, "small.elf")]);
    const small = await readFile(join(work, "small.elf"));
    const packed = await compressed(small);
    await mkdir(join(here, "images"), { recursive: true });
    const names = [committedTruth, "images/linux-6.1.guest.json", committedImage];
    for (const [index, content] of [...texts, packed].entries()) await writeFile(join(here, names[index]!), content);
    return packed.length;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
