import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, readFileSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join, parse } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { cacheDirectory, here } from "./cache.ts";
import { committedImage, committedTruth } from "./committed.ts";
import { committedCore, committedCoreTruth } from "./xen/committed.ts";

/** An image that comes with the repository, unpacked. */
export interface UnpackedFixture {
  readonly image: string;
  /** Path of its truth.json, of type `Truth`. */
  readonly truth: string;
}

/**
 * Unpacks the committed image, an ELF core without the guest's free, zero and user pages, into the cache, once. Whoever comes at the same time unpacks too, and the last rename
 * wins: both wrote the same.
 */
export async function unpack(): Promise<UnpackedFixture> {
  return { image: await unpackFile(committedImage), truth: join(here, committedTruth) };
}

/** The same of the core file of a domain of Xen. */
export async function unpackCore(): Promise<UnpackedFixture> {
  return { image: await unpackFile(committedCore), truth: join(here, committedCoreTruth) };
}

/** `path`: of a file of this folder, whose name ends in .br. */
async function unpackFile(path: string): Promise<string> {
  const packed = join(here, path);
  const digest = createHash("sha256").update(readFileSync(packed)).digest("hex").slice(0, 16);
  const directory = join(cacheDirectory(), ".unpacked");
  const { name, ext } = parse(basename(path, ".br"));
  const image = join(directory, `${name}-${digest}${ext}`);
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
  return image;
}
