import { type ChildProcess, fork } from "node:child_process";
import { createRequire } from "node:module";
import { toXFilterError, XFilterError } from "../errors.ts";
import { loadNative } from "../native.ts";
import { connectQmp } from "../sources/qmp.ts";
import { isPaused, unpauseWithoutGuard } from "./guarded-domain.ts";
import type { Answer, Pausable, Pause, Request, Stop } from "./messages.ts";

type Settled = Extract<Answer, { pause?: unknown }>;
type Question<R = Request> = R extends Request ? Omit<R, "id"> : never;

const GONE = "The guard that resumes paused guests was killed; attach again to have a new one";

/** @internal The agent's side of the guard: one for all of a process's guests, started when the first is paused. */
export class Guard {
  static #shared: Guard | undefined;

  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(answer: Settled): void; reject(error: XFilterError): void }>();
  readonly #held = new Map<number, Pausable>();
  readonly #paused = new Set<number>();
  #lastId = 0;
  #lastGuest = 0;
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

  /** A number that stands for this guest. Its monitor no other client may hold. Rejects as `connectQmp` does; of a domain as `xenDomain`. */
  async hold(pausable: Pausable): Promise<number> {
    const guest = ++this.#lastGuest;
    await this.#ask({ do: "hold", guest, pausable });
    this.#held.set(guest, pausable);
    return guest;
  }

  async stop(guest: number, budgetMs: number): Promise<Stop> {
    // What an earlier pause may have left standing is not forgotten because this one failed.
    const stood = this.#paused.has(guest);
    // The guard looks, too; but one that is killed before it answers leaves it open who has paused the domain.
    if (!stood && (await this.#isPausedByOthers(guest))) return "stood";
    this.#paused.add(guest);
    try {
      const { stop = "stood" } = await this.#ask({ do: "stop", guest, budgetMs });
      if (stop !== "stopped") this.#paused.delete(guest);
      return stop;
    } catch (error) {
      if (!stood) this.#paused.delete(guest);
      throw error;
    }
  }

  /** Of a guest that was not paused by us. Only its guard can ask a monitor. */
  async #isPausedByOthers(guest: number): Promise<boolean> {
    const pausable = this.#held.get(guest)!;
    return "domain" in pausable && (await isPaused(pausable.domain, loadNative()));
  }

  async resume(guest: number): Promise<Pause | undefined> {
    const { pause } = await this.#ask({ do: "resume", guest });
    this.#paused.delete(guest);
    return pause;
  }

  async release(guest: number): Promise<void> {
    if (this.#ended) return this.#ended;
    await this.#ask({ do: "release", guest });
    this.#paused.delete(guest);
    this.#held.delete(guest);
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
    const paused = Array.from(this.#paused, (guest) => this.#held.get(guest)!);
    this.#ended ??= Promise.all(paused.map(resumeWithoutGuard)).then(() => {
      for (const id of [...this.#waiting.keys()]) this.#fail(id);
    });
  }
}

async function resumeWithoutGuard(pausable: Pausable): Promise<void> {
  try {
    if ("domain" in pausable) return await unpauseWithoutGuard(pausable.domain, loadNative());
    const qmp = await connectQmp(pausable.qmp);
    try {
      await qmp.execute("cont");
    } finally {
      qmp.close();
    }
  } catch {
    // What ran the guest has ended, too; or another client has the monitor, and with it the guest. Of a domain it was told.
  }
}
