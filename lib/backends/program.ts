import { constants } from "node:os";
import { toXFilterError, XFilterError } from "../errors.ts";
import { loadNative } from "../native.ts";
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

/** Whoever takes this long hangs. iptables-nft-restore took 15 s for the 6 MB of 65,536 flows: of an input there is a second more for each 100 kB. */
const TIMEOUT_MS = 30_000;
const BYTES_PER_MS = 100;
/** Bytes. A listing has some 200 for each rule. */
const MAX_OUTPUT = 256 * 1024 * 1024;
const MAX_MESSAGES = 64 * 1024;

/**
 * Runs a program, with an input or none. Rejects with the signal's reason, once it has ended.
 *
 * By the addon, not by Node's `spawn`, which forks: that holds up the event loop for as long as this process's page tables
 * take to copy (https://github.com/nodejs/node/issues/14917).
 */
export async function runProgram(
  program: Program,
  words: readonly string[],
  input: string | null,
  signal: AbortSignal,
): Promise<Ended> {
  signal.throwIfAborted();
  const timeoutMs = TIMEOUT_MS + Math.ceil((input?.length ?? 0) / BYTES_PER_MS);
  const limits = { timeoutMs, maxOutput: MAX_OUTPUT, maxMessages: MAX_MESSAGES };
  const job = loadNative().runProgram({ name: program.name, words, path: systemPath(), input, ...limits });
  signal.addEventListener("abort", job.cancel, { once: true });
  const ended = await job.promise
    .catch((cause) => {
      signal.throwIfAborted();
      throw notRun(program, toXFilterError(cause));
    })
    .finally(() => signal.removeEventListener("abort", job.cancel));
  signal.throwIfAborted();
  const { status, output, messages } = ended;
  return { output, messages, status: status ?? signalName(ended.signal!) };
}

/** Why a program said no: `said` are its own words, of which one line is quoted. */
export function refusal(program: Program, said: string, status: number | string): XFilterError {
  const { name } = program;
  if (status === "SIGKILL")
    return failed(program, `\`${name}\` was killed, by us if it took more than ${TIMEOUT_MS / 1000} s`);
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

function notRun(program: Program, cause: XFilterError): XFilterError {
  const { name } = program;
  if (cause.code === "BACKEND_NOT_FOUND") {
    const advice = `Install it (Debian's package ${program.package})`;
    return new XFilterError("BACKEND_NOT_FOUND", `\`${name}\` is not installed`, advice, { cause });
  }
  return cause.code === "BACKEND_FAILED"
    ? failed(program, `\`${name}\` could not be run: ${cause.message}`, cause)
    : cause;
}

function signalName(number: number): string {
  const [name] = Object.entries(constants.signals).find(([, signal]) => signal === number) ?? [];
  return name ?? `signal ${number}`;
}

function failed({ name, look }: Program, what: string, cause?: unknown): XFilterError {
  return new XFilterError("BACKEND_FAILED", what, `See what ${name} says to \`${look}\``, { cause });
}
