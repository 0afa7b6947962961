import type { Writable } from "node:stream";
import { getSystemErrorMap } from "node:util";
import { createColors } from "picocolors";
import { escapeJson } from "../escape.ts";
import { type Cell, type Column, formatTable } from "./table.ts";

/** Of a terminal, in characters. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

type Terminal = Writable & { isTTY?: boolean; columns?: number; rows?: number };

/** What was printed could not be written. */
export class OutputError extends Error {
  readonly code = "OUTPUT";

  constructor(cause: NodeJS.ErrnoException, what = "The output", advice = "What was written before is incomplete") {
    super(`${what} could not be written: ${describeCause(cause)}. ${advice}.`, { cause });
  }
}

/** "no space left on device (ENOSPC)", without the call and the path that Node.js tells, too. */
export function describeCause({ errno, code, message }: NodeJS.ErrnoException): string {
  return errno === undefined ? message : `${getSystemErrorMap().get(errno)?.[1]} (${code})`;
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
  readonly #dumb: boolean;
  #gone = false;

  constructor(stream: Terminal, env: NodeJS.ProcessEnv, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    this.#dumb = env.TERM === "dumb";
    this.colors = createColors(stream.isTTY === true && !env.NO_COLOR && !this.#dumb);
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

  /** Writes text at once, whatever became of the rest: the terminal is the user's again. */
  restore(text: string): void {
    if (!this.#gone) this.#stream.write(text, () => {});
  }

  /** Prints one object a line. */
  async json(objects: Iterable<unknown>): Promise<void> {
    await this.lines(jsonLines(objects));
  }

  /** Whether nobody reads any more: what goes on for ever then ends. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Of a terminal that can be drawn on; undefined where the output is none. */
  get size(): Size | undefined {
    const { isTTY, columns, rows } = this.#stream;
    return isTTY && !this.#dumb && columns && rows ? { columns, rows } : undefined;
  }

  /** Hears of each change of the terminal's size, until what it returns is called. */
  onResize(listener: () => void): () => void {
    this.#stream.on("resize", listener);
    return () => this.#stream.off("resize", listener);
  }

  /** Prints a table that fits the terminal. Cells are printable text already. */
  async table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): Promise<void> {
    await this.lines(
      this.tableLines(columns, rows, this.#stream.isTTY ? this.#stream.columns || undefined : undefined),
    );
  }

  /** The header in bold, then the rows; what has none says so to a reader, while a program gets the header alone. */
  tableLines(columns: readonly Column[], rows: readonly (readonly Cell[])[], width?: number): string[] {
    const [header = [], ...formatted] = formatTable(columns, rows, width);
    const nothing = rows.length === 0 && this.#stream.isTTY ? ["(none)"] : [];
    return [...header.map(this.colors.bold), ...formatted.flat(), ...nothing];
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
