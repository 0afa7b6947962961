import type { Socket } from "node:net";

/** As much of the QEMU Machine Protocol as freezing and dumping a guest takes. */
export class QmpConnection {
  private readonly socket: Socket;
  private readonly waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  private rest = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.receive(text));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.waiting.splice(0)) reject(new Error("QEMU closed its control connection"));
    });
  }

  private receive(text: string): void {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as { return?: unknown; error?: { desc: string } };
      if ("return" in message) this.waiting.shift()?.resolve(message.return);
      else if (message.error) this.waiting.shift()?.reject(new Error(`QEMU: ${message.error.desc}`));
      // the greeting and events are nobody's answer
    }
  }

  execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject });
      this.socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }
}
