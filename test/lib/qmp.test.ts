import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { connectQmp, type QmpEvent } from "../../lib/sources/qmp.ts";
import { humanMonitor } from "./fake-qmp.ts";

let directory: string;
let path: string;
let server: Server | undefined;
const served: Socket[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xfilter-qmp-"));
  path = join(directory, "qmp");
});
afterEach(async () => {
  for (const socket of served.splice(0)) socket.destroy();
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)));
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

async function listen(serve: (socket: Socket) => void): Promise<void> {
  server = createServer((socket) => {
    served.push(socket.on("error", () => {}));
    serve(socket);
  });
  await new Promise<void>((resolve) => server!.listen(path, resolve));
}

type Answer = (args: Record<string, unknown>) => unknown;
type Answers = Record<string, Answer>;
const GREETING = { QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 } }, capabilities: [] } };

/** A monitor that greets, and answers what it knows; the rest with an error. A command that returns nothing is not answered. */
function monitor(answers: Answers): (socket: Socket) => void {
  return (socket) => {
    const send = (message: unknown) => socket.write(`${JSON.stringify(message)}\r\n`);
    send(GREETING);
    let rest = "";
    socket.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        const { execute, arguments: args, id } = JSON.parse(line);
        const answer = ({ qmp_capabilities: () => ({}), ...answers } as Answers)[execute as string];
        if (!answer)
          send({ id, error: { class: "CommandNotFound", desc: `The command ${execute} has not been found` } });
        const result = answer?.(args);
        if (result !== undefined) send({ id, return: result });
      }
    });
  };
}

const LIMITS = { timeoutMs: 300, maxBytes: 1 << 16 };
const human: Answer = ({ "command-line": line }) => humanMonitor(String(line));

describe("a QMP connection", () => {
  it("negotiates, answers, reports errors and tells the listener's process", async () => {
    await listen(monitor({ "query-name": () => ({ name: "vm1" }) }));
    const qmp = await connectQmp(path, { limits: LIMITS });
    expect(qmp.peer).toBe(process.pid);
    const answers = [qmp.execute("query-name"), qmp.execute("query-nothing"), qmp.execute("query-name")];
    await expect(answers[0]).resolves.toEqual({ name: "vm1" });
    await expect(answers[1]).rejects.toMatchObject({ code: "QMP_REFUSED" });
    await expect(answers[2]).resolves.toEqual({ name: "vm1" });
    qmp.close();
    expect(qmp.open).toBe(false);
    await expect(qmp.execute("query-name")).rejects.toMatchObject({ code: "QMP_CLOSED" });
  });
  it("takes events whenever they come, and messages in pieces", async () => {
    await listen((socket) => {
      const event = `${JSON.stringify({ event: "RESET", data: { guest: true } })}\r\n`;
      const text = `${JSON.stringify(GREETING)}\r\n`;
      socket.write(text.slice(0, 9));
      setTimeout(() => socket.write(text.slice(9)), 20);
      socket.once("data", () => {
        socket.write(event + event);
        setTimeout(() => socket.write(`${event}${JSON.stringify({ return: {}, id: 1 })}\n${event}`), 20);
      });
    });
    const qmp = await connectQmp(path, { limits: LIMITS });
    expect(qmp.open).toBe(true);
    qmp.close();
  });
  it("hears of what comes along with the answer to its negotiation", async () => {
    await listen((socket) => {
      socket.write(`${JSON.stringify(GREETING)}\r\n`);
      const told = { event: "RESET", timestamp: { seconds: 1, microseconds: 2 } };
      socket.once("data", () => socket.write(`${JSON.stringify({ return: {}, id: 1 })}\n${JSON.stringify(told)}\n`));
    });
    const heard: QmpEvent[] = [];
    const qmp = await connectQmp(path, { limits: LIMITS, onEvent: (event) => heard.push(event) });
    await expect.poll(() => heard).toEqual([{ name: "RESET", microseconds: 1_000_002 }]);
    qmp.close();
  });
  const flood = (text: string) => (socket: Socket) => {
    const pour = () => {
      while (!socket.destroyed && socket.write(text));
    };
    socket.on("drain", pour);
    pour();
  };
  it.each([
    ["silence", () => {}, "QMP_TIMEOUT"],
    [
      "a human monitor",
      (socket: Socket) => socket.write("QEMU 7.2.0 monitor - type 'help'\r\n(qemu) \n"),
      "QMP_INVALID",
    ],
    ["another JSON service", (socket: Socket) => socket.write('{"hello": 1}\n'), "QMP_INVALID"],
    ["answers before the greeting", (socket: Socket) => socket.write('{"return": {}, "id": 1}\n'), "QMP_INVALID"],
    ["bytes without end", flood("x".repeat(4096)), "QMP_INVALID"],
    ["events without end", flood('{"event": "X"}\n'.repeat(64)), "QMP_INVALID"],
    ["a closed connection", (socket: Socket) => socket.end(), "QMP_CLOSED"],
    ["a greeting, then silence", (socket: Socket) => socket.write(`${JSON.stringify(GREETING)}\n`), "QMP_TIMEOUT"],
    [
      "a greeting, then events without end",
      (socket: Socket) => {
        socket.write(`${JSON.stringify(GREETING)}\n`);
        flood('{"event": "X"}\n'.repeat(64))(socket);
      },
      "QMP_INVALID",
    ],
    ["a greeting, then an end", (socket: Socket) => socket.end(`${JSON.stringify(GREETING)}\n`), "QMP_CLOSED"],
  ])("that meets %s ends with a code", async (_, serve: (socket: Socket) => unknown, code) => {
    await listen(serve);
    await expect(connectQmp(path, { limits: LIMITS })).rejects.toMatchObject({
      code,
      advice: expect.stringMatching(/.\.$/),
    });
  });
  it("is given up when it is aborted", async () => {
    await listen(() => {});
    const reason = new Error("enough");
    const attaching = introspect({ qemu: { qmp: path } }, { signal: AbortSignal.abort(reason) });
    await expect(attaching).rejects.toBe(reason);
    const abort = new AbortController();
    const waiting = introspect({ qemu: { qmp: path } }, { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 50);
    await expect(waiting).rejects.toBe(reason);
  });
  it.each([
    ["what kind of guest it is", { "query-migrate": () => undefined }],
    ["where its RAM lies", { "human-monitor-command": () => undefined }],
  ])("that does not say %s is given up when it is aborted", async (_, answers: Answers) => {
    await listen(monitor(answers));
    const reason = new Error("enough");
    const abort = new AbortController();
    const waiting = introspect({ qemu: { qmp: path } }, { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 100);
    await expect(waiting).rejects.toBe(reason);
  });
  it("has no memory map", async () => {
    const memoryMap = [{ start: 0, size: 4096, offset: 0 }];
    await expect(introspect({ qemu: { qmp: path } }, { memoryMap })).rejects.toMatchObject({
      code: "ERR_INVALID_OPTION",
    });
  });
  it("to what is no socket, or nobody's, is refused", async () => {
    await expect(connectQmp(path)).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
    writeFileSync(path, "");
    await expect(connectQmp(path)).rejects.toMatchObject({ code: "SOURCE_NOT_FOUND" });
    await expect(connectQmp(`/${"long/".repeat(50)}`)).rejects.toMatchObject({ code: "SOURCE_IO" });
  });
});

describe("attaching by QMP", () => {
  const readable: Answers = { "human-monitor-command": human };
  it.each<[string, Answers, string]>([
    ["a process without that memory, as libvirt's", readable, "PROCESS_UNKNOWN"],
    ["a QEMU without a human monitor", {}, "QMP_REFUSED"],
    ["a map without RAM", { "human-monitor-command": () => "" }, "RAM_UNKNOWN"],
    [
      "RAM that is nowhere",
      {
        "human-monitor-command": (args) =>
          args["command-line"] === "info mtree -f" ? human(args) : "No memory is mapped\n",
      },
      "RAM_UNKNOWN",
    ],
    ["an encrypted guest", { ...readable, "query-sev": () => ({ enabled: true }) }, "GUEST_CONFIDENTIAL"],
    ["a confidential guest of any kind", { ...readable, "qom-get": () => "/objects/tdx0" }, "GUEST_CONFIDENTIAL"],
    [
      "a guest in postcopy migration",
      { ...readable, "query-migrate": () => ({ status: "postcopy-active" }) },
      "GUEST_MIGRATING",
    ],
    [
      "an ordinary guest that was migrated",
      {
        ...readable,
        "qom-get": () => "",
        "query-sev": () => ({ enabled: false }),
        "query-migrate": () => ({ status: "completed" }),
      },
      "PROCESS_UNKNOWN",
    ],
  ])("to %s fails with a code, and lets go of the socket", async (_, answers, code) => {
    await listen(monitor(answers));
    await expect(introspect({ qemu: { qmp: path } })).rejects.toMatchObject({
      code,
      advice: expect.stringMatching(/.\.$/),
    });
    await expect.poll(() => served.every(({ closed, readableEnded }) => closed || readableEnded)).toBe(true);
  });
});
