import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A monitor as QEMU's, of a guest that can only be stopped and resumed. Serves one client at a time, as QEMU does. */
export class FakeQmp {
  readonly path: string;
  readonly log: string[] = [];
  running = true;
  /** Resolves with the next STOP or RESUME. */
  #waiting: (() => void)[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "xfilter-qmp-"));
  readonly #queue: Socket[] = [];
  readonly #server = createServer((socket) => {
    this.#queue.push(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      const served = this.#queue[0] === socket;
      this.#queue.splice(this.#queue.indexOf(socket), 1);
      if (served) this.#greet();
    });
    if (this.#queue.length === 1) this.#greet();
  });

  private constructor() {
    this.path = join(this.#folder, "qmp");
  }

  static async listen(): Promise<FakeQmp> {
    const fake = new FakeQmp();
    await new Promise<void>((resolve) => fake.#server.listen(fake.path, resolve));
    return fake;
  }

  /** Resolves when the guest runs, or does not. */
  async until(running: boolean): Promise<void> {
    while (this.running !== running) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#server.close();
    for (const socket of [...this.#queue]) socket.destroy();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #greet(): void {
    const [socket] = this.#queue;
    if (!socket) return;
    const send = (message: object) => socket.write(`${JSON.stringify(message)}\r\n`);
    send({ QMP: { version: {}, capabilities: [] } });
    let rest = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const { execute, id } = JSON.parse(line) as { execute: string; id: number };
        this.log.push(execute);
        if (execute === "stop") this.#set(false, send);
        if (execute === "cont") this.#set(true, send);
        send({ return: {}, id });
      }
    });
  }

  #set(running: boolean, send: (message: object) => void): void {
    if (this.running === running) return;
    this.running = running;
    const now = Date.now();
    send({
      event: running ? "RESUME" : "STOP",
      timestamp: { seconds: Math.floor(now / 1000), microseconds: (now % 1000) * 1000 },
    });
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
