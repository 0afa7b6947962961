import { existsSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LiveAgent } from "../live-agent.ts";
import type { Truth } from "../truth.ts";
import { DomainConsole } from "./console.ts";

/** Bad luck: another boot may do. */
export class GuestFailed extends Error {}

/** A word of a shell's command. */
export const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

/** A domain that runs on, and tells its truth when it is asked. To be had in Dom0 as on the machine, but one of them asks at a time. */
export class LiveDomain {
  readonly name: string;
  /** xenconsoled's, of all domains that had the name. */
  readonly log: string;
  private readonly shell: (script: string) => Promise<unknown>;
  private last: Promise<unknown> = Promise.resolve();

  /** `share`: where /share of Dom0's is; `shell` runs a script of Dom0's. */
  constructor(name: string, share: string, shell: (script: string) => Promise<unknown>) {
    this.name = name;
    this.log = join(share, `guest-${name}.log`);
    this.shell = shell;
  }

  /** What the domain says of itself now, standing still. */
  truth(): Promise<Truth> {
    return this.inTurn((agent) => agent.truth());
  }

  /** What guest/live/agent.c answers. */
  command(text: string): Promise<string> {
    return this.inTurn((agent) => agent.command(text));
  }

  /** How many bytes of its console there are. */
  said(): number {
    return existsSync(this.log) ? statSync(this.log).size : 0;
  }

  /** Resolves when the domain stands still that began to boot when so much was on its console. `gone` rejects if nothing boots any more. */
  async booted(from: number, seconds: number, gone?: Promise<never>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const failed = new Promise<never>((_, reject) => {
      timer = setInterval(async () => {
        const text = existsSync(this.log) ? (await readFile(this.log, "latin1")).slice(from) : "";
        if (/fixture:|Kernel panic/.test(text)) reject(new GuestFailed(`${this.name}: ${text.slice(-2000)}`));
      }, 500);
    });
    try {
      // Within the question, so that nothing goes on to listen when it is over.
      await this.asked(from, (agent) => Promise.race([agent.ready(seconds), failed, ...(gone ? [gone] : [])]));
    } finally {
      clearInterval(timer);
    }
  }

  private inTurn<T>(question: (agent: LiveAgent) => Promise<T>): Promise<T> {
    const result = this.last.then(() => this.asked(this.said(), question));
    this.last = result.catch(() => {});
    return result;
  }

  private async asked<T>(from: number, question: (agent: LiveAgent) => Promise<T>): Promise<T> {
    const tty = `$(xenstore-read /local/domain/$(xl domid ${this.name})/console/tty)`;
    const console = new DomainConsole(this.log, from, (text) => this.shell(`printf %s ${quoted(text)} >"${tty}"`));
    try {
      return await question(new LiveAgent(console, console));
    } finally {
      console.destroy();
    }
  }
}
