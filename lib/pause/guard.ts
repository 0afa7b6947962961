import { type ChildProcess, fork } from "node:child_process";
import { createRequire } from "node:module";
import { toXFilterError, XFilterError } from "../errors.ts";
import { connectQmp } from "../sources/qmp.ts";
import type { Answer, Pause, Request, Stop } from "./messages.ts";

type Settled = Extract<Answer, { pause?: unknown }>;
type Question<R = Request> = R extends Request ? Omit<R, "id"> : never;

const GONE = "The guard that resumes paused guests was killed; attach again to have a new one";

/** @internal The agent's side of the guard: one for all of a process's guests, started when the first is paused. */
export class Guard {
  static #shared: Guard | undefined;

  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(answer: Settled): void; reject(error: XFilterError): void }>();
  readonly #paused = new Set<string>();
  #lastId = 0;
  #ended: Promise<void> | undefined;

  static shared(): Guard {
    if (!Guard.#shared || Guard.#shared.#ended) Guard.#shared = new Guard();
    return Guard.#shared;
  }

  private constructor() {
    const program = createRequire(import.meta.url).resolve("#guard");
    this.#child = fork(program, { detached: true, execArgv: [], stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.#child.on("message", (answer: Answer) => this.#settle(answer));
    this.#child.on("error", () => this.#end());
    this.#child.on("exit", () => this.#end());
    this.#child.unref();
    this.#child.channel?.unref();
  }

  /** Takes the monitor at `path`, which no other client may hold. Rejects as `connectQmp` does. */
  async hold(path: string): Promise<void> {
    await this.#ask({ do: "hold", path });
  }

  async stop(path: string, budgetMs: number): Promise<Stop> {
    // What an earlier pause may have left standing is not forgotten because this one failed.
    const stood = this.#paused.has(path);
    this.#paused.add(path);
    try {
      const { stop = "stood" } = await this.#ask({ do: "stop", path, budgetMs });
      if (stop !== "stopped") this.#paused.delete(path);
      return stop;
    } catch (error) {
      if (!stood) this.#paused.delete(path);
      throw error;
    }
  }

  async resume(path: string): Promise<Pause | undefined> {
    const { pause } = await this.#ask({ do: "resume", path });
    this.#paused.delete(path);
    return pause;
  }

  async release(path: string): Promise<void> {
    if (this.#ended) return this.#ended;
    await this.#ask({ do: "release", path });
    this.#paused.delete(path);
  }

  async #ask(question: Question): Promise<Settled> {
    const id = ++this.#lastId;
    const answer = new Promise<Settled>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    // What is asked for keeps the process alive until it is answered.
    this.#child.channel?.ref();
    if (this.#ended || !this.#child.connected) this.#fail(id);
    else this.#child.send({ id, ...question });
    try {
      return await answer;
    } finally {
      if (this.#waiting.size === 0) this.#child.channel?.unref();
    }
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if ("error" in answer) waiting?.reject(toXFilterError(answer.error));
    else waiting?.resolve(answer);
  }

  #fail(id: number): void {
    this.#waiting.get(id)?.reject(new XFilterError("GUARD_GONE", "the guest cannot be paused safely", GONE));
    this.#waiting.delete(id);
  }

  /** Somebody killed the guard: what it had stopped is resumed from here. */
  #end(): void {
    this.#ended ??= Promise.all(Array.from(this.#paused, resumeWithoutGuard)).then(() => {
      for (const id of [...this.#waiting.keys()]) this.#fail(id);
    });
  }
}

async function resumeWithoutGuard(path: string): Promise<void> {
  try {
    const qmp = await connectQmp(path);
    try {
      await qmp.execute("cont");
    } finally {
      qmp.close();
    }
  } catch {
    // QEMU has ended, too; or another client has the monitor, and with it the guest.
  }
}
