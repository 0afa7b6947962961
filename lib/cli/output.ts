import type { Writable } from "node:stream";
import { getSystemErrorMap } from "node:util";
import { createColors } from "picocolors";
import { escapeJson } from "./escape.ts";
import { type Cell, type Column, formatTable } from "./table.ts";

type Terminal = Writable & { isTTY?: boolean; columns?: number; rows?: number };

/** What was printed could not be written. */
class OutputError extends Error {
  readonly code = "OUTPUT";

  constructor(cause: NodeJS.ErrnoException) {
    const why =
      cause.errno === undefined ? cause.message : `${getSystemErrorMap().get(cause.errno)?.[1]} (${cause.code})`;
    super(`The output could not be written: ${why}. What was written before is incomplete.`, { cause });
  }
}

/** Characters after which a write is waited for. */
const CHUNK = 64 * 1024;

/**
 * Where a command prints to. Waits whenever the reader is slower than the printing; a reader that is gone
 * (`xfilter ps … | head`) has enough, and that is no failure.
 */
export class Output {
  readonly colors: ReturnType<typeof createColors>;
  readonly #stream: Terminal;
  readonly #signal: AbortSignal;
  #gone = false;

  constructor(stream: Terminal, env: NodeJS.ProcessEnv, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    this.colors = createColors(stream.isTTY === true && !env.NO_COLOR && env.TERM !== "dumb");
    // Errors arrive at write()'s callback; without a listener they would end the process.
    stream.on("error", () => {});
  }

  /** Writes whole lines. Rejects with the signal's reason when aborted between two writes. */
  async lines(lines: Iterable<string>): Promise<void> {
    let chunk = "";
    for (const line of lines) {
      chunk += `${line}\n`;
      if (chunk.length < CHUNK) continue;
      await this.text(chunk);
      if (this.#gone) return;
      chunk = "";
    }
    await this.text(chunk);
  }

  /** Writes text as it is. */
  async text(text: string): Promise<void> {
    this.#signal.throwIfAborted();
    await this.#write(text);
  }

  /** Writes `before`, and behind the work `after`, however the work ended: the terminal is the user's again. */
  async between(before: string, after: string, work: () => Promise<void>): Promise<void> {
    await this.text(before);
    try {
      await work();
    } finally {
      await this.#write(after);
    }
  }

  /** Prints one object a line. */
  async json(objects: Iterable<unknown>): Promise<void> {
    await this.lines(jsonLines(objects));
  }

  /** Whether nobody reads any more: what goes on for ever then ends. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Columns and rows of the terminal; undefined where the output is none. */
  get size(): { columns: number; rows: number } | undefined {
    const { isTTY, columns, rows } = this.#stream;
    return isTTY && columns && rows ? { columns, rows } : undefined;
  }

  /** Prints a table that fits the terminal, its header in bold. Cells are printable text already. */
  async table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): Promise<void> {
    const width = this.#stream.isTTY ? this.#stream.columns || undefined : undefined;
    const [header = [], ...formatted] = formatTable(columns, rows, width);
    await this.lines([...header.map(this.colors.bold), ...formatted.flat()]);
  }

  async #write(text: string): Promise<void> {
    if (this.#gone) return;
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(text, (error) => {
        this.#gone = (error as NodeJS.ErrnoException | null | undefined)?.code === "EPIPE";
        if (error && !this.#gone) reject(new OutputError(error));
        else resolve();
      });
    });
  }
}

function* jsonLines(objects: Iterable<unknown>): Generator<string> {
  for (const object of objects) yield escapeJson(object);
}
