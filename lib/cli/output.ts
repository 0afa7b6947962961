import type { Writable } from "node:stream";
import { createColors } from "picocolors";
import { escapeJson } from "./escape.ts";
import { type Column, formatTable } from "./table.ts";

type Terminal = Writable & { isTTY?: boolean; columns?: number };

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
      await this.#write(chunk);
      if (this.#gone) return;
      chunk = "";
    }
    await this.#write(chunk);
  }

  /** Prints one object a line. */
  async json(objects: Iterable<unknown>): Promise<void> {
    await this.lines(jsonLines(objects));
  }

  /** Prints a table that fits the terminal, its header in bold. Cells are printable text already. */
  async table(columns: readonly Column[], rows: readonly (readonly string[])[]): Promise<void> {
    const width = this.#stream.isTTY ? this.#stream.columns || undefined : undefined;
    const [header = "", ...lines] = formatTable(columns, rows, width);
    await this.lines([this.colors.bold(header), ...lines]);
  }

  async #write(text: string): Promise<void> {
    this.#signal.throwIfAborted();
    if (this.#gone) return;
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(text, (error) => {
        this.#gone = (error as NodeJS.ErrnoException | null | undefined)?.code === "EPIPE";
        if (error && !this.#gone) reject(error);
        else resolve();
      });
    });
  }
}

function* jsonLines(objects: Iterable<unknown>): Generator<string> {
  for (const object of objects) yield escapeJson(object);
}
