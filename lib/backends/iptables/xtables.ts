import { XFilterError } from "../../errors.ts";
import { notPermitted, type Program, refusal, runProgram } from "../program.ts";

/** Which of the two programs of one name: the one that keeps its rules in nf_tables, or the one of before. */
export type IptablesVariant = "nft" | "legacy";

/** What is said of a table with something in it that only nft can have made. */
const STRANGE = /able `filter' is incompatible/;

/** Seconds for which iptables-restore waits while another program changes the rules; the nft variant needs no lock. */
const WAIT_S = 20;

/** The commands of a variant, or, with null, those that the host calls iptables. */
export class Xtables {
  readonly variant: IptablesVariant | null;
  readonly family: 4 | 6;

  constructor(family: 4 | 6, variant: IptablesVariant | null) {
    this.family = family;
    this.variant = variant;
  }

  /** "iptables", "ip6tables-legacy". */
  get name(): string {
    return `${this.family === 4 ? "iptables" : "ip6tables"}${this.variant === null ? "" : `-${this.variant}`}`;
  }

  /** The table filter, as iptables-save prints it. */
  async save(signal: AbortSignal): Promise<string> {
    return this.#run("save", ["--counters", "--table", "filter"], null, signal);
  }

  /**
   * All tables that there are and that it can print, and whether it cannot print the table filter; null where the program is not installed.
   * Makes none: a legacy table comes into being when it is asked for by name.
   */
  async saveExisting(signal: AbortSignal): Promise<{ readonly text: string; readonly strange: boolean } | null> {
    try {
      const text = await this.#run("save", ["--counters"], null, signal);
      return { text, strange: STRANGE.test(text) };
    } catch (error) {
      if (error instanceof XFilterError && error.code === "BACKEND_NOT_FOUND") return null;
      throw error;
    }
  }

  /** Makes all commands about the table filter take effect, or none of them. What they do not name stays. */
  async restore(commands: readonly string[], signal: AbortSignal): Promise<void> {
    const words = ["--noflush", "--counters", `--wait=${WAIT_S}`];
    await this.#run("restore", words, inFilter(commands), signal);
  }

  /** Whether the program understands the commands and this process is allowed to give them; changes nothing. */
  async test(commands: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#run("restore", ["--noflush", "--test", `--wait=${WAIT_S}`], inFilter(commands), signal);
  }

  async #run(
    verb: "save" | "restore",
    words: readonly string[],
    input: string | null,
    signal: AbortSignal,
  ): Promise<string> {
    const program: Program = { name: `${this.name}-${verb}`, package: "iptables", look: `${this.name}-save` };
    const { output, messages, status } = await runProgram(program, words, input, signal);
    const about = words.includes("--table") || verb === "restore";
    if (about && STRANGE.test(output + messages)) {
      const what = `The table filter holds rules that ${this.name} does not understand`;
      throw new XFilterError("BACKEND_UNSUPPORTED", what, "nft made them: use the backend nftables on this host");
    }
    if (status === 0) return output;
    if (/permission denied|operation not permitted|you must be root/i.test(messages)) throw notPermitted();
    throw refusal(program, spoken(messages), status);
  }
}

function inFilter(commands: readonly string[]): string {
  return `${["*filter", ...commands, "COMMIT"].join("\n")}\n`;
}

/** What was said, in one line, without advice and without who says it. */
function spoken(messages: string): string {
  const lines = messages.split("\n").map((line) => line.replace(/^ip6?tables[\w-]*(?: v[\d.]+ \(\w+\))?:/, "").trim());
  return lines.filter((line) => line !== "" && !/^(?:Try|Perhaps) /.test(line)).join(" ");
}
