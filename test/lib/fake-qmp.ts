import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What a monitor says of where the RAM lies that starts at 0 and has `bytes`. */
export function humanMonitor(commandLine: string, bytes = 96 << 20): string {
  if (commandLine.startsWith("gpa2hva")) return "Host virtual address for 0x0 (pc.ram) is 0x1000\r\n";
  const last = (bytes - 1).toString(16).padStart(16, "0");
  return `FlatView #0\n AS "memory", root: system\n  ${"0".repeat(16)}-${last} (prio 0, ram): pc.ram\n`;
}

/** A monitor as QEMU's, of a guest that can be stopped and resumed. Serves one client at a time, as QEMU does. */
export class FakeQmp {
  readonly path: string;
  readonly log: string[] = [];
  running = true;
  ramBytes = 96 << 20;
  /** The next command of this name is carried out and not answered: the connection ends. */
  cutAt: string | undefined;
  /** Commands of this name are refused. */
  refuses: string | undefined;
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

  /** Tells whoever is connected. */
  tell(event: string, data: object = {}): void {
    this.#queue[0]?.write(`${JSON.stringify({ event, data, timestamp: { seconds: 1, microseconds: 0 } })}\r\n`);
  }

  /** Ends the connection that is served. */
  cut(): void {
    this.#queue[0]?.destroy();
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
        const { execute, id, arguments: args } = JSON.parse(line);
        this.log.push(execute);
        if (execute === this.cutAt) {
          this.cutAt = undefined;
          this.running = execute !== "stop";
          socket.destroy();
          return;
        }
        if (execute === this.refuses) {
          send({ error: { class: "GenericError", desc: "not now" }, id });
          continue;
        }
        if (execute === "stop") this.#set(false, send);
        if (execute === "cont") this.#set(true, send);
        if (execute === "human-monitor-command")
          send({ return: humanMonitor(args["command-line"], this.ramBytes), id });
        else send({ return: execute === "query-status" ? { running: this.running } : {}, id });
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
