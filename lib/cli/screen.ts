import type { Output, Size } from "./output.ts";

// The alternate screen keeps what was on the terminal; the cursor would flicker.
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/** What the terminal itself makes of these keys as long as nobody else listens. */
const CTRL_C = "\x03";
const CTRL_BACKSLASH = "\x1c";
const CTRL_Z = "\x1a";

/** Where keys are pressed, as far as it is used here. */
export interface Keyboard {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
  on(event: "data" | "error", listener: (data: Buffer) => void): unknown;
  off(event: "data", listener: (data: Buffer) => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

/**
 * The whole terminal, drawn again and again where it stands: nothing flickers. `q` ends it. On each way out the terminal
 * is left as it was found: an end, an error, a signal (on the first, so that a second may end the process the hard
 * way), an exception that nobody caught, `process.exit()`. And while it is suspended by Ctrl-Z.
 */
export class Screen {
  readonly #output: Output;
  readonly #keyboard: Keyboard;
  readonly #signal: AbortSignal;
  readonly #ended = new AbortController();
  #lines: ((size: Size) => readonly string[]) | undefined;
  #shown = false;
  #quit = false;

  constructor(output: Output, signal: AbortSignal, keyboard: Keyboard = process.stdin) {
    this.#output = output;
    this.#signal = signal;
    this.#keyboard = keyboard;
  }

  /** Aborted when `q` is pressed, when it cannot be drawn any more, and when the signal that it was made with is. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether keys are heard: input that comes from elsewhere is left alone. */
  get hasKeys(): boolean {
    return this.#keyboard.isTTY === true;
  }

  /** Shows these lines, which are no wider than the terminal, now and after each change of its size. */
  show(lines: (size: Size) => readonly string[]): void {
    this.#lines = lines;
    this.#draw();
  }

  /** Resolves when the work does, or `q` ended it. */
  async during(work: () => Promise<void>): Promise<void> {
    const leave = () => this.#leave();
    const abort = () => {
      this.#leave();
      this.#ended.abort(this.#signal.reason);
    };
    this.#signal.throwIfAborted();
    this.#signal.addEventListener("abort", abort, { once: true });
    const stopResizing = this.#output.onResize(() => this.#draw());
    // A terminal that is gone.
    this.#keyboard.on("error", () => {});
    // The first comes before the exception is printed, which the other screen would swallow.
    process.on("uncaughtExceptionMonitor", leave).on("exit", leave).on("SIGTSTP", this.#suspend);
    try {
      this.#enter();
      await work();
    } catch (error) {
      if (!this.#quit) throw error;
    } finally {
      this.#leave();
      process.off("uncaughtExceptionMonitor", leave).off("exit", leave).off("SIGTSTP", this.#suspend);
      this.#signal.removeEventListener("abort", abort);
      stopResizing();
    }
  }

  #enter(): void {
    this.#shown = true;
    this.#output.restore(ENTER);
    if (!this.hasKeys) return;
    this.#keyboard.setRawMode?.(true);
    this.#keyboard.on("data", this.#press);
    this.#keyboard.resume();
  }

  #leave(): void {
    if (!this.#shown) return;
    this.#shown = false;
    this.#output.restore(LEAVE);
    if (!this.hasKeys) return;
    this.#keyboard.setRawMode?.(false);
    this.#keyboard.off("data", this.#press);
    this.#keyboard.pause();
  }

  readonly #press = (data: Buffer) => {
    const keys = data.toString("latin1");
    // What starts so is a function key, whatever its letters.
    if (keys.startsWith("\x1b")) return;
    if (keys.includes(CTRL_C)) process.kill(process.pid, "SIGINT");
    if (keys.includes(CTRL_BACKSLASH)) process.kill(process.pid, "SIGQUIT");
    // To the whole job: a shell that sees npx or sudo run does not take the terminal back.
    if (keys.includes(CTRL_Z)) process.kill(0, "SIGTSTP");
    if (!/q/i.test(keys)) return;
    this.#quit = true;
    this.#leave();
    this.#ended.abort();
  };

  /** Stops here, and goes on when the shell says so. */
  readonly #suspend = () => {
    this.#leave();
    process.off("SIGTSTP", this.#suspend);
    process.kill(process.pid, "SIGTSTP");
    process.on("SIGTSTP", this.#suspend);
    this.#enter();
    this.#draw();
  };

  #draw(): void {
    const { size } = this.#output;
    if (!this.#shown || !this.#lines || !size) return;
    const lines = this.#lines(size).slice(0, size.rows);
    const frame = `${HOME}${lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n")}${CLEAR_BELOW}`;
    this.#output.text(frame).catch((error) => this.#ended.abort(error));
  }
}
