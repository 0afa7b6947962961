import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { Duplex } from "node:stream";

const everyMs = 100;

/** A domain's console. What the domain writes is read from xenconsoled's log of it. */
export class DomainConsole extends Duplex {
  private readonly log: string;
  private readonly send: (text: string) => Promise<unknown>;
  private offset: number;
  private timer: NodeJS.Timeout | undefined;

  /** `from`: where in the log it begins; `send` hands to xenconsoled what the domain is to read. */
  constructor(log: string, from: number, send: (text: string) => Promise<unknown>) {
    super();
    this.log = log;
    this.offset = from;
    this.send = send;
  }

  override _read(): void {
    this.timer ??= setTimeout(() => this.more().catch((error: Error) => this.destroy(error)), everyMs);
  }

  override _write(bytes: Buffer, _: string, done: (error?: Error) => void): void {
    this.send(bytes.toString("latin1")).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.timer);
    done(error);
  }

  private async more(): Promise<void> {
    const bytes = existsSync(this.log) ? await this.rest() : Buffer.alloc(0);
    this.timer = undefined;
    if (this.destroyed) return;
    if (bytes.length === 0) return this._read();
    this.offset += bytes.length;
    this.push(bytes);
  }

  private async rest(): Promise<Buffer> {
    const file = await open(this.log);
    try {
      const { size } = await file.stat();
      const { bytesRead, buffer } = await file.read(Buffer.alloc(size - this.offset), { position: this.offset });
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}
