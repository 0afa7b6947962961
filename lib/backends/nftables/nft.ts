import { XFilterError } from "../../errors.ts";
import { notPermitted, type Program, refusal, runProgram } from "../program.ts";

/** A command, statement or object in libnftables' JSON (libnftables-json(5)). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

const NFT: Program = { name: "nft", package: "nftables", look: "nft list ruleset" };

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
    throw new XFilterError("BACKEND_FAILED", "`nft` printed what is no JSON", "Check the installation of nftables", {
      cause,
    });
  }
}

/** Runs nft, with an input or none; its output. Rejects with the signal's reason, once nft has ended. */
export async function runNft(words: readonly string[], input: string | null, signal: AbortSignal): Promise<string> {
  const { output, messages, status } = await runProgram(NFT, words, input, signal);
  if (status !== 0) throw explain(messages, status);
  return output;
}

function explain(messages: string, status: number | string): XFilterError {
  if (/operation not permitted/i.test(messages)) return notPermitted();
  // Only the first message: the rest are the commands that it is about, ten thousand elements if need be.
  const [first = ""] = messages.split("\n").filter((line) => line.trim() !== "");
  const said = first.replace(/^(?:internal|netlink|\/dev\/stdin|-)[:\d-]*:? */, "").replace(/^Error: /, "");
  return refusal(NFT, said, status);
}
