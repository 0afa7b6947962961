import {
  closeSync,
  constants,
  copyFileSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { createProfile, introspect } from "../../lib/index.ts";
import { readBtf } from "./btf.ts";
import { isfOf } from "./isf.ts";

const MAGIC = Buffer.from("9feb010018000000", "hex");
const CHUNK = 16 << 20;

/** The files that somebody would have of a guest's kernel, made of what the guest carries itself. */
export interface GuestFiles {
  readonly btf: string;
  readonly isf: string;
  readonly systemMap: string;
  readonly profile: string;
}

interface FoundBtf {
  readonly offset: number;
  readonly blob: Buffer;
}

/** Where in a file the magic is. */
function* occurrences(path: string): Generator<number> {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(CHUNK + MAGIC.length);
    for (let start = 0; ; start += CHUNK) {
      const filled = buffer.subarray(0, readSync(file, buffer, 0, buffer.length, start));
      for (let at = filled.indexOf(MAGIC); at >= 0 && at < CHUNK; at = filled.indexOf(MAGIC, at + 1)) yield start + at;
      if (filled.length < buffer.length) return;
    }
  } finally {
    closeSync(file);
  }
}

function blobAt(path: string, offset: number): Buffer {
  const file = openSync(path, "r");
  try {
    const header = Buffer.alloc(24);
    readSync(file, header, 0, header.length, offset);
    const [, , , typeBytes = 0, , stringBytes = 0] = new Uint32Array(header.buffer, header.byteOffset, 6);
    const blob = Buffer.alloc(Math.min(24 + typeBytes + stringBytes, CHUNK));
    readSync(file, blob, 0, blob.length, offset);
    return blob;
  } finally {
    closeSync(file);
  }
}

/** The kernel's image is contiguous in physical memory, and so is its BTF in the file; copies elsewhere are in pieces. */
async function findBtf(image: string, folder: string): Promise<FoundBtf> {
  for (const offset of occurrences(image)) {
    const blob = blobAt(image, offset);
    const path = join(folder, "candidate.btf");
    writeFileSync(path, blob);
    if (await createProfile({ types: path }).catch(() => null)) return { offset, blob };
  }
  throw new Error(`There is no BTF in ${image}.`);
}

/** Addresses by name, of the symbols that the kernel has. */
function symbolsOf(profile: string): Record<string, string> {
  const { symbols } = JSON.parse(profile) as { symbols: Record<string, string | null> };
  return Object.fromEntries(Object.entries(symbols).flatMap(([name, address]) => (address ? [[name, address]] : [])));
}

export async function filesOfGuest(image: string, folder: string): Promise<GuestFiles> {
  const guest = await introspect(image);
  const profileText = guest.profile();
  const { banner } = guest.kernel;
  await guest.close();
  const symbols = symbolsOf(profileText);
  const { blob } = await findBtf(image, folder);
  const write = (name: string, content: string | Buffer) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };
  const lines = Object.entries(symbols).map(([name, address]) => `${address.slice(2).padStart(16, "0")} D ${name}\n`);
  return {
    btf: write("kernel.btf", blob),
    isf: write("kernel.json", isfOf(blob, symbols, banner)),
    systemMap: write("System.map", lines.join("")),
    profile: write("profile.json", profileText),
  };
}

/** A copy of an image without the kernel's BTF, and without the head of each copy that RAM keeps of it in pieces. */
export async function withoutBtf(image: string, copy: string, folder: string): Promise<string> {
  const { offset, blob } = await findBtf(image, folder);
  return changed(image, copy, (write) => {
    for (const stale of occurrences(image)) write(Buffer.alloc(MAGIC.length), stale);
    write(Buffer.alloc(blob.length), offset);
  });
}

/** A copy of an image whose kernel lies about its types: every uid is read where the gid is. */
export async function withForgedBtf(image: string, copy: string, folder: string): Promise<string> {
  const { offset, blob } = await findBtf(image, folder);
  const cred = readBtf(blob).find(({ name }) => name === "cred")!;
  const [uid, gid] = ["uid", "gid"].map((wanted) => cred.members.find(({ name }) => name === wanted)!);
  return changed(image, copy, (write) => {
    for (const [from, to] of [
      [uid!, gid!],
      [gid!, uid!],
    ] as const)
      write(blob.subarray(from.offsetAt, from.offsetAt + 4), offset + to.offsetAt);
  });
}

/** A copy of an image whose kernel's symbol table is gone, from the names of its tokens on. */
export async function withoutKallsyms(image: string, copy: string, folder: string): Promise<string> {
  const { offset } = await findBtf(image, folder);
  const note = readFileSync(image).toString("latin1");
  const tokens = BigInt(`0x${/SYMBOL\(kallsyms_token_table\)=([0-9a-f]+)/.exec(note)![1]}`);
  const guest = await introspect(image);
  const symbols = symbolsOf(guest.profile());
  const startBtf = BigInt(symbols.__start_BTF!) + guest.kernel.kaslrOffset;
  await guest.close();
  return changed(image, copy, (write) => write(Buffer.alloc(1024), offset + Number(tokens - startBtf)));
}

function changed(image: string, copy: string, change: (write: (bytes: Buffer, at: number) => void) => void): string {
  copyFileSync(image, copy, constants.COPYFILE_FICLONE);
  const file = openSync(copy, "r+");
  change((bytes, at) => writeSync(file, bytes, 0, bytes.length, at));
  closeSync(file);
  return copy;
}
