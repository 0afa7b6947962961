import type { Duplex } from "node:stream";
import { parseTranscript, type Truth } from "./truth.ts";

const commandSeconds = 120;

/** Bytes from the guest, of which somebody waits for those up to a point. */
class Received {
  private bytes: Buffer = Buffer.alloc(0);
  private check: () => void = () => {};
  private readonly closed: Promise<never>;

  constructor(socket: Duplex, name: string) {
    socket.on("error", () => {});
    socket.on("data", (more: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, more]);
      this.check();
    });
    this.closed = new Promise((_, reject) => {
      socket.on("close", () => reject(new Error(`The guest ended, and with it its ${name}`)));
    });
    this.closed.catch(() => {});
  }

  /** `end` says how many of the bytes so far are what is waited for, or -1. */
  async take(end: (bytes: Buffer) => number, seconds: number, what: string): Promise<Buffer> {
    let timer: NodeJS.Timeout | undefined;
    const arrived = new Promise<Buffer>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`No ${what} from the guest after ${seconds} s`)), seconds * 1000);
      this.check = () => {
        const length = end(this.bytes);
        if (length < 0) return;
        resolve(this.bytes.subarray(0, length));
        this.bytes = this.bytes.subarray(length);
        this.check = () => {};
      };
      this.check();
    });
    try {
      return await Promise.race([arrived, this.closed]);
    } finally {
      clearTimeout(timer);
      this.check = () => {};
    }
  }
}

const endOf = (bytes: Buffer, text: string, from = 0) => {
  const at = bytes.indexOf(text, from);
  return at < 0 ? -1 : at + text.length;
};

/** The program in the guest that does what it is told: guest/live/agent.c. */
export class LiveAgent {
  private readonly socket: Duplex;
  private readonly answers: Received;
  private readonly transcripts: Received;
  private last: Promise<unknown> = Promise.resolve();

  /** `truth`: where the recorder writes, which may be where the agent does. */
  constructor(socket: Duplex, truth: Duplex) {
    this.socket = socket;
    this.answers = new Received(socket, "agent");
    this.transcripts = truth === socket ? this.answers : new Received(truth, "recorder");
  }

  /** Resolves when the guest has booted. What it said before it was reset is nobody's answer. */
  async ready(seconds: number): Promise<void> {
    await this.answers.take((bytes) => endOf(bytes, "ready\n"), seconds, "greeting");
  }

  command(text: string): Promise<string> {
    return this.inTurn(() => this.ask(text));
  }

  truth(): Promise<Truth> {
    return this.inTurn(async () => {
      await this.ask("truth");
      return parseTranscript(await this.transcripts.take((bytes) => endOf(bytes, "\nend\n"), commandSeconds, "truth"));
    });
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work);
    this.last = result.catch(() => {});
    return result;
  }

  private async ask(text: string): Promise<string> {
    this.socket.write(`${text}\n`);
    const what = `answer to ${JSON.stringify(text)}`;
    const line = (await this.answers.take((bytes) => endOf(bytes, "\n"), commandSeconds, what)).toString().trimEnd();
    const length = Number(/^ok (\d+)$/.exec(line)?.[1]);
    if (Number.isNaN(length)) throw new Error(`The guest's answer to ${JSON.stringify(text)}: ${line}`);
    return (await this.answers.take((bytes) => (bytes.length < length ? -1 : length), commandSeconds, what)).toString();
  }
}
