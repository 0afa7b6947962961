import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

const chunkSize = 16 << 20;

/** Reads and overwrites a dump in place: it may be larger than what fits into one buffer. */
class Dump {
  private readonly fd: number;
  private readonly size: number;

  constructor(path: string) {
    this.fd = openSync(path, "r+");
    this.size = fstatSync(this.fd).size;
  }

  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, this.size - offset)));
    readSync(this.fd, bytes, 0, bytes.length, offset);
    return bytes;
  }

  zero(offset: number, length: number): void {
    writeSync(this.fd, Buffer.alloc(length), 0, length, offset);
  }

  /** Where these bytes lie, in ascending order. */
  *find(pattern: Buffer): Generator<number> {
    for (let offset = 0; offset < this.size; offset += chunkSize) {
      const chunk = this.read(offset, chunkSize + pattern.length - 1);
      for (let at = chunk.indexOf(pattern); at !== -1; at = chunk.indexOf(pattern, at + 1)) yield offset + at;
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}

const isText = (byte: number | undefined) => byte !== undefined && (byte === 10 || (byte >= 32 && byte < 127));

/**
 * Overwrites the text of VMCOREINFO wherever a copy or a part of one lies, and the header of its note. What is
 * followed by `%` is the kernel's format string, and stays.
 */
export function scrubVmcoreinfo(path: string): void {
  const dump = new Dump(path);
  const reach = 8192; // twice a page, which is the text's size at most
  let found = 0;
  try {
    for (const key of ["OSRELEASE=", "SYMBOL(swapper_pg_dir)=", "KERNELOFFSET="]) {
      for (const at of [...dump.find(Buffer.from(key))]) {
        const from = Math.max(0, at - reach);
        const around = dump.read(from, 2 * reach);
        let [start, end] = [at - from, at - from];
        if (around[end + key.length] === 0x25) continue;
        while (isText(around[start - 1])) start--;
        while (isText(around[end])) end++;
        // Elf64_Nhdr, and the name padded to 12 bytes
        if (around.subarray(start - 12, start - 1).equals(Buffer.from("VMCOREINFO\0"))) start -= 24;
        dump.zero(from + start, end - start);
        found++;
      }
    }
  } finally {
    dump.close();
  }
  if (found === 0) throw new Error(`${path} has no VMCOREINFO to scrub`);
}

/**
 * Overwrites the kernel's types and returns them. Of the copies that decompression left behind, torn and without use but
 * for their header, only that goes: what lies behind it may be somebody else's by now.
 */
export function scrubBtf(path: string): Buffer {
  const dump = new Dump(path);
  let types: Buffer | null = null;
  try {
    // struct btf_header: magic, version 1, no flags, its own length; then offset and length of types and of strings
    const header = Buffer.from([0x9f, 0xeb, 1, 0, 24, 0, 0, 0]);
    for (const at of [...dump.find(header)]) {
      const [typesLength, stringsOffset, stringsLength] = [12, 16, 20].map((field) =>
        dump.read(at, 24).readUInt32LE(field),
      );
      const length = 24 + stringsOffset! + stringsLength!;
      const bytes = typesLength === stringsOffset && length < chunkSize ? dump.read(at, length) : Buffer.alloc(0);
      const whole = bytes.length === length && bytes.at(-1) === 0 && bytes.includes("\0task_struct\0");
      if (whole) types = bytes;
      dump.zero(at, whole ? length : header.length);
    }
  } finally {
    dump.close();
  }
  if (!types) throw new Error(`${path} has no BTF to scrub`);
  return types;
}
