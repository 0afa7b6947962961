import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { type FileHandle, open, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { XFilterError } from "../errors.ts";
import { systemPath } from "../system-path.ts";
import { escapeBytes } from "./names.ts";

/** A firewall's command. */
export interface Program {
  readonly name: string;
  /** Debian's package that has it. */
  readonly package: string;
  /** A command that shows people what is wrong with the firewall. */
  readonly look: string;
}

/** How a program ended. */
export interface Ended {
  readonly output: string;
  readonly messages: string;
  /** Exit status, or the signal that ended it. */
  readonly status: number | string;
}

/** Ten thousand rules take tenths of a second; whoever takes this long hangs. */
const TIMEOUT_MS = 30_000;
/** Bytes. A listing has some 200 for each rule. */
const MAX_OUTPUT = 256 * 1024 * 1024;
const MAX_MESSAGES = 64 * 1024;

/** Runs a program, with an input or none. Rejects with the signal's reason, once it has ended. */
export async function runProgram(
  program: Program,
  words: readonly string[],
  input: string | null,
  signal: AbortSignal,
): Promise<Ended> {
  const file = input === null ? null : await inputFile(program, input);
  try {
    signal.throwIfAborted();
    const stdio = [file?.fd ?? "ignore", "pipe", "pipe"] as const;
    const child = spawn(program.name, words, {
      env: { PATH: systemPath(), LC_ALL: "C" },
      stdio: [...stdio],
    });
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    // Not spawn's own timeout: for a program that cannot be run it goes on, and keeps this process.
    const timeout = setTimeout(kill, TIMEOUT_MS);
    const end = await ended(program, child).finally(() => {
      clearTimeout(timeout);
      signal.removeEventListener("abort", kill);
    });
    signal.throwIfAborted();
    return end;
  } finally {
    await file?.close();
  }
}

/** Why a program said no: `said` are its own words, of which one line is quoted. */
export function refusal(program: Program, said: string, status: number | string): XFilterError {
  const { name } = program;
  if (status === "SIGKILL") return failed(program, `\`${name}\` was killed, by us if it took ${TIMEOUT_MS / 1000} s`);
  return failed(program, `\`${name}\` refused: ${said === "" ? `it ended with ${status}` : escapeBytes(said, 300)}`);
}

/** What a program says that may not change the firewall. */
export function notPermitted(): XFilterError {
  const what = "The kernel does not let this process change the firewall";
  return new XFilterError("BACKEND_PERMISSION", what, "Run it as root, or with CAP_NET_ADMIN");
}

/** Whether the program was there and allowed, and said no. */
export function refused(error: unknown): boolean {
  return error instanceof XFilterError && error.code === "BACKEND_FAILED";
}

/**
 * A file without a name that holds the input. nft opens `/dev/stdin` anew, which cannot be done with the sockets that Node
 * makes for pipes.
 */
async function inputFile(program: Program, input: string): Promise<FileHandle> {
  const path = join(tmpdir(), `xfilter-${randomUUID()}`);
  try {
    await writeFile(path, input, { flag: "wx", mode: 0o600 });
    // Opened anew: the program shares the position, and begins at the start.
    return await open(path, "r");
  } catch (cause) {
    const what = `no file for the input of ${program.name} could be made in ${tmpdir()}: ${(cause as Error).message}`;
    throw failed(program, what, cause);
  } finally {
    await unlink(path).catch(() => {});
  }
}

function ended(program: Program, child: ChildProcess): Promise<Ended> {
  const output = collect(child.stdout!, MAX_OUTPUT);
  const messages = collect(child.stderr!, MAX_MESSAGES);
  return new Promise((resolve, reject) => {
    child.once("error", (cause: NodeJS.ErrnoException) => {
      const { name } = program;
      const advice = `Install it (Debian's package ${program.package})`;
      reject(
        cause.code === "ENOENT"
          ? new XFilterError("BACKEND_NOT_FOUND", `\`${name}\` is not installed`, advice, { cause })
          : failed(program, `\`${name}\` could not be run: ${cause.message}`, cause),
      );
    });
    child.once("close", (status, signal) =>
      resolve({ output: output(), messages: messages(), status: status ?? signal ?? "?" }),
    );
  });
}

/** What a stream has brought so far, its first `limit` bytes. */
function collect(stream: NodeJS.ReadableStream, limit: number): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= limit) chunks.push(chunk);
  });
  return () => Buffer.concat(chunks).toString();
}

function failed({ name, look }: Program, what: string, cause?: unknown): XFilterError {
  return new XFilterError("BACKEND_FAILED", what, `See what ${name} says to \`${look}\``, { cause });
}
