import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, readFileSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { cacheDirectory, here } from "./cache.ts";
import { committedImage, committedTruth } from "./committed.ts";

/** The image that comes with the repository, unpacked. */
export interface UnpackedFixture {
  /** An ELF core without the guest's free, zero and user pages. */
  readonly image: string;
  /** Path of its truth.json, of type `Truth`. */
  readonly truth: string;
}

/**
 * Unpacks the committed image into the cache, once. Whoever comes at the same time unpacks too, and the last rename
 * wins: both wrote the same.
 */
export async function unpack(): Promise<UnpackedFixture> {
  const packed = join(here, committedImage);
  const digest = createHash("sha256").update(readFileSync(packed)).digest("hex").slice(0, 16);
  const directory = join(cacheDirectory(), ".unpacked");
  const image = join(directory, `linux-6.1-${digest}.elf`);
  if (!existsSync(image)) {
    await mkdir(directory, { recursive: true });
    const partial = `${image}.${randomUUID()}`;
    try {
      await pipeline(createReadStream(packed), createBrotliDecompress(), createWriteStream(partial));
      await rename(partial, image);
    } finally {
      await rm(partial, { force: true });
    }
  }
  return { image, truth: join(here, committedTruth) };
}
