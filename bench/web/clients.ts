import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Outside } from "../../vmcore-fixtures/lab.ts";
import { labAddresses } from "../../vmcore-fixtures/lab-wire.ts";
import type { Answered, Offer } from "./client.ts";

/** Who asks the guest's web server from outside: client.ts. */
export class Clients {
  private readonly program: ChildProcess;
  private readonly ended: Promise<never>;

  private constructor(program: ChildProcess) {
    this.program = program;
    this.ended = once(program, "close").then(([code, signal]) => {
      throw new Error(`the web server's clients ended with ${signal ?? code}`);
    });
    this.ended.catch(() => {});
  }

  static async at({ enter }: Outside, port: number, bytes: number): Promise<Clients> {
    const node = [process.execPath, "--import", "tsx", join(import.meta.dirname, "client.ts")];
    const words = ["--pdeathsig", "KILL", ...enter, ...node, labAddresses.guest.v4, `${port}`, `${bytes}`];
    const clients = new Clients(spawn("setpriv", words, { stdio: ["ignore", "inherit", "inherit", "ipc"] }));
    await clients.answer();
    return clients;
  }

  private async answer(signal?: AbortSignal): Promise<unknown> {
    const [message] = await Promise.race([once(this.program, "message", { signal }), this.ended]);
    return message;
  }

  async ask(offer: Offer, signal: AbortSignal): Promise<Answered> {
    signal.throwIfAborted();
    this.program.send(offer, () => {}); // what is not sent is not answered: `ended` tells
    return (await this.answer(signal)) as Answered;
  }

  async close(): Promise<void> {
    const { program } = this;
    const gone = once(program, "close");
    if (program.exitCode === null && program.signalCode === null && program.kill("SIGKILL")) await gone;
  }
}
