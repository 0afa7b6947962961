import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { missingProgram } from "./command.ts";
import { type HeardReport, parseHeard, type TalkReport } from "./lab-report.ts";

/** Asks one of the lab's programs that runs on this machine, by its control path. */
export async function askProgram(control: string, what: string): Promise<string> {
  const socket = connect(control);
  socket.write(`${what}\n`);
  return text(socket);
}

/** The lab's program (guest/live/lab.c) on this machine: it ends with the test's process, however that ends. */
export class LabProgram {
  readonly pid: number;
  private readonly child: ChildProcess;
  private readonly control: string;

  private constructor(child: ChildProcess, control: string) {
    this.child = child;
    this.pid = child.pid!;
    this.control = control;
  }

  /**
   * Resolves when it says that it is ready. `wrapper` is what it is started with: `unshare --net` or `nsenter`, which become
   * it, so that `pid` is its own.
   */
  static async start(wrapper: readonly string[], program: string, control: string, words: readonly string[]) {
    const [verb, ...settings] = words;
    const command = ["--pdeathsig", "KILL", ...wrapper, program, verb!, control, ...settings];
    const child = spawn("setpriv", command, { stdio: ["ignore", "ignore", "pipe", "pipe"] });
    let errors = "";
    const failed = new Promise<never>((_, reject) => {
      child.on("error", () => reject(missingProgram("setpriv")));
      child.on("close", (code, signal) => reject(new Error(`lab ${verb} ended with ${signal ?? code}: ${errors}`)));
      child.stderr!.on("data", (bytes: Buffer) => {
        errors += bytes;
        reject(new Error(`lab ${verb}: ${errors}`)); // it stands still there, as in a guest
      });
    });
    failed.catch(() => {});
    const ready = text(child.stdio[3] as NodeJS.ReadableStream);
    try {
      await Promise.race([ready, failed]);
      if ((await ready) === "") await failed;
      return new LabProgram(child, control);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  async heard(): Promise<HeardReport> {
    return parseHeard(await askProgram(this.control, "report"));
  }

  async ask(what: string): Promise<TalkReport> {
    return JSON.parse(await askProgram(this.control, what)) as TalkReport;
  }

  async close(): Promise<void> {
    const gone = once(this.child, "close");
    if (this.child.exitCode === null && this.child.signalCode === null && this.child.kill("SIGKILL")) await gone;
  }
}
