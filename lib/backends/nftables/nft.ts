import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { XFilterError } from "../../errors.ts";
import { escapeBytes } from "./names.ts";

/** A command, statement or object in libnftables' JSON (libnftables-json(5)). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** nft takes tenths of a second for ten thousand elements; whoever takes this long hangs. */
const TIMEOUT_MS = 30_000;
/** Bytes. A listing has some 200 for each element. */
const MAX_OUTPUT = 256 * 1024 * 1024;
const MAX_MESSAGES = 64 * 1024;
/** Where nft is on systems whose users do not have these in their PATH. */
const SYSTEM_PATH = "/usr/sbin:/sbin:/usr/bin:/bin";

/** Makes all of the commands take effect, or none of them. */
export async function applyCommands(commands: readonly Json[], signal: AbortSignal): Promise<void> {
  await runNft(["-j", "-f", "-"], JSON.stringify({ nftables: commands }), signal);
}

/** Asks the kernel whether it would take the commands; says no more than that it knows what they name. */
export async function checkCommands(commands: readonly Json[], signal: AbortSignal): Promise<void> {
  await runNft(["-c", "-j", "-f", "-"], JSON.stringify({ nftables: commands }), signal);
}

/** What `nft -j ARGUMENTS` prints. */
export async function listObjects(words: readonly string[], signal: AbortSignal): Promise<readonly Json[]> {
  const text = await runNft(["-j", ...words], null, signal);
  try {
    return (JSON.parse(text) as { nftables: readonly Json[] }).nftables;
  } catch (cause) {
    throw new XFilterError("BACKEND_FAILED", "nft printed what is no JSON", "Check the installation of nftables", {
      cause,
    });
  }
}

/** Runs nft, with an input or none; its output. Rejects with the signal's reason, once nft has ended. */
export async function runNft(words: readonly string[], input: string | null, signal: AbortSignal): Promise<string> {
  const file = input === null ? null : await inputFile(input);
  try {
    signal.throwIfAborted();
    const path = [process.env.PATH, SYSTEM_PATH].filter(Boolean).join(":");
    const stdio = [file?.fd ?? "ignore", "pipe", "pipe"] as const;
    const child = spawn("nft", words, {
      env: { PATH: path, LC_ALL: "C" },
      stdio: [...stdio],
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    const { output, messages, status } = await ended(child).finally(() => signal.removeEventListener("abort", kill));
    signal.throwIfAborted();
    if (status !== 0) throw explain(messages, status);
    return output;
  } finally {
    await file?.close();
  }
}

/**
 * A file without a name that holds the input. nft opens `/dev/stdin` anew, which cannot be done with the sockets that Node
 * makes for pipes.
 */
async function inputFile(input: string): Promise<FileHandle> {
  const path = join(tmpdir(), `xfilter-${randomUUID()}`);
  try {
    const file = await open(path, "wx", 0o600);
    await unlink(path);
    await file.writeFile(input);
    return file;
  } catch (cause) {
    throw failed(`no file for nft's input could be made in ${tmpdir()}: ${(cause as Error).message}`, cause);
  }
}

function ended(child: ChildProcess): Promise<{ output: string; messages: string; status: number | string }> {
  const output = collect(child.stdout!, MAX_OUTPUT);
  const messages = collect(child.stderr!, MAX_MESSAGES);
  return new Promise((resolve, reject) => {
    child.once("error", (cause: NodeJS.ErrnoException) => {
      const missing = cause.code === "ENOENT";
      const advice = "Install it (Debian's package nftables)";
      reject(
        missing
          ? new XFilterError("BACKEND_NOT_FOUND", "nft is not installed", advice, { cause })
          : failed(`nft could not be run: ${cause.message}`, cause),
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

function explain(messages: string, status: number | string): XFilterError {
  if (/operation not permitted/i.test(messages)) {
    const what = "The kernel does not let this process change the firewall";
    return new XFilterError("BACKEND_PERMISSION", what, "Run it as root, or with CAP_NET_ADMIN");
  }
  // Only the first message: the rest are the commands that it is about, ten thousand elements if need be.
  const [first = ""] = messages.split("\n").filter((line) => line.trim() !== "");
  const said = first.replace(/^(?:internal|netlink|\/dev\/stdin|-)[:\d-]*:? */, "").replace(/^Error: /, "");
  if (status === "SIGKILL") return failed(`nft was killed, by us if it took ${TIMEOUT_MS / 1000} s`);
  return failed(`nft refused: ${said === "" ? `it ended with ${status}` : escapeBytes(said, 300)}`);
}

function failed(what: string, cause?: unknown): XFilterError {
  return new XFilterError("BACKEND_FAILED", what, "See what nft says to `nft list ruleset`", { cause });
}

/** Whether nft was there and allowed, and said no. */
export function refused(error: unknown): boolean {
  return error instanceof XFilterError && error.code === "BACKEND_FAILED";
}
