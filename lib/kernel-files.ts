import { constants } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { type BrotliOptions, brotliDecompress, gunzip, type InputType, type ZlibOptions } from "node:zlib";
import { invalidOption, XFilterError } from "./errors.ts";
import { runJob } from "./job.ts";
import { loadNative, type NativeFile, type NativeFiles } from "./native.ts";
import type { AbortSignalLike } from "./options.ts";
import { btfOfDwarf } from "./pahole.ts";

/**
 * Types and symbols from outside the guest, each the path of a file about exactly the guest's kernel. What is given
 * is not taken from the guest's memory. The form of a file is found by its content; `.gz` and `.br` are unpacked.
 */
export interface KernelFiles {
  /**
   * A BTF file (a copy of `/sys/kernel/btf/vmlinux`), a vmlinux with BTF or DWARF, or an ISF file (Volatility's JSON).
   * The symbols of such a file are used, too, unless `symbols` gives others.
   */
  readonly types?: string | undefined;
  /** A System.map, a vmlinux with its symbol table, or an ISF file. */
  readonly symbols?: string | undefined;
  /** What `createProfile()` or `xfilter profile` made of these: stands for both. */
  readonly profile?: string | undefined;
}

/** @internal Throws TypeError ERR_INVALID_OPTION; paths come back absolute. */
export function checkKernelFiles({ types, symbols, profile }: KernelFiles): KernelFiles {
  if (profile !== undefined && (types !== undefined || symbols !== undefined)) {
    throw invalidOption("a profile stands for types and symbols, give it alone");
  }
  return {
    types: checkPath("types", types),
    symbols: checkPath("symbols", symbols),
    profile: checkPath("profile", profile),
  };
}

function checkPath(name: string, path: unknown): string | undefined {
  if (path === undefined) return undefined;
  if (typeof path !== "string" || path === "") throw invalidOption(`${name} is not a path`);
  if (path.includes("\0")) throw invalidOption(`the path of ${name} has a zero byte in it`);
  return resolve(path);
}

/** @internal The files as the addon takes them: unpacked, and BTF in place of DWARF. */
export async function prepareKernelFiles(
  files: KernelFiles,
  signal: AbortSignalLike | undefined,
): Promise<NativeFiles> {
  const prepared: NativeFiles = {};
  if (files.profile !== undefined) prepared.profile = { path: files.profile };
  if (files.symbols !== undefined) prepared.symbols = await unpacked(files.symbols);
  if (files.types !== undefined) {
    prepared.types = await unpacked(files.types);
    if (await lacksBtf(files.types, signal)) {
      // Its own symbols and build id are as good as before.
      prepared.symbols ??= prepared.types;
      prepared.types = { path: files.types, content: await btfOfDwarf(files.types, signal) };
    }
  }
  return prepared;
}

async function lacksBtf(path: string, signal: AbortSignalLike | undefined): Promise<boolean> {
  if (!(await head(path)).subarray(0, 4).equals(Buffer.from("\x7fELF"))) return false;
  return runJob(() => loadNative().lacksBtf(path), signal);
}

/** No kernel's symbol file is larger, and no packed one may claim to be. */
const MAX_UNPACKED = 512 * 1024 * 1024;
const gzip = promisify<InputType, ZlibOptions, Buffer>(gunzip);
const brotli = promisify<InputType, BrotliOptions, Buffer>(brotliDecompress);
const COMMANDS: readonly [magic: string, command: string][] = [
  ["fd377a585a00", "unxz --keep"],
  ["425a68", "bunzip2 --keep"],
  ["28b52ffd", "unzstd"],
];

async function unpacked(path: string): Promise<NativeFile> {
  const magic = (await head(path)).toString("hex");
  const command = COMMANDS.find(([start]) => magic.startsWith(start))?.[1];
  if (command) {
    throw new XFilterError(
      "TYPES_INVALID",
      `${path} is packed in a way that is not read here`,
      `Unpack it first: ${command}`,
    );
  }
  // What has no first bytes, a FIFO say, is the addon's to refuse.
  const unpack = magic.startsWith("1f8b") ? gzip : magic !== "" && path.endsWith(".br") ? brotli : undefined;
  if (!unpack) return { path };
  try {
    return { path, content: await unpack(await readFile(path), { maxOutputLength: MAX_UNPACKED }) };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new XFilterError("TYPES_INVALID", `${path} cannot be unpacked: ${why}`, "Check that the file is whole", {
      cause,
    });
  }
}

/** Its first bytes; none of what cannot be read, of which the addon says why. */
async function head(path: string): Promise<Buffer> {
  try {
    // Without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return Buffer.alloc(0);
  }
}
