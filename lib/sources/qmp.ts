import { channel } from "node:diagnostics_channel";
import { Socket } from "node:net";
import { toXFilterError, XFilterError } from "../errors.ts";
import { loadNative } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";
import { unlessAborted } from "../sleep.ts";

/** A connection to QEMU's monitor, which serves one client at a time (docs/interop/qmp-spec of QEMU). */
export interface Qmp {
  /** The process that made the listening socket, mostly QEMU itself; 0 if it is not of this pid namespace. */
  readonly peer: number;
  /** False once the connection has ended. */
  readonly open: boolean;
  /**
   * What QEMU returns; rejects with QMP_REFUSED if it answers with an error, and as `connectQmp` does. When aborted, the
   * answer is not waited for.
   */
  execute(command: string, args?: Record<string, unknown>, signal?: AbortSignalLike): Promise<unknown>;
  close(): void;
}

/** @internal */
export interface QmpEvent {
  readonly name: string;
  /** Since 1970, by QEMU's clock. */
  readonly microseconds: number;
}

/**
 * @internal Name of the diagnostics channel that hears of each monitor that is connected to: while another client holds
 * it, nothing happens for as long as ten seconds.
 */
export const MONITOR_CHANNEL = "xfilter-core:monitor";

/** @internal What is published there. */
export interface MonitorMessage {
  /** Path of the QMP socket. */
  readonly path: string;
  /** "waiting" for its greeting; "settled": it came, or it was given up. */
  readonly state: "waiting" | "settled";
}

const monitorChannel = channel(MONITOR_CHANNEL);

/** @internal How long an answer may take, and how much the other end may send for it. */
export interface QmpLimits {
  timeoutMs: number;
  maxBytes: number;
}

/** @internal */
export interface QmpOptions {
  readonly limits?: QmpLimits;
  /** Hears of what happens by itself, or in the course of a command: then before its answer. */
  readonly onEvent?: (event: QmpEvent) => void;
  readonly signal?: AbortSignalLike | undefined;
}

const LIMITS: QmpLimits = { timeoutMs: 10_000, maxBytes: 16 << 20 };

const NOT_QMP =
  "Give the socket of QEMU's -qmp or -chardev …,mode=control, not of its human monitor or of anything else";
const ONE_CLIENT =
  "A QMP socket serves one client: if libvirt or another program holds it, give the process id instead (qemu:pid:PID)";

// Commands are numbered from 1 on; the greeting answers nobody's question.
const GREETING = 0;

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: XFilterError) => void;
  timer: NodeJS.Timeout;
}

/**
 * @internal
 * Connects and negotiates. Rejects with SOURCE_NOT_FOUND or SOURCE_PERMISSION (connecting), QMP_TIMEOUT (silence),
 * QMP_INVALID (what answers is no QMP), QMP_CLOSED; with `signal.reason` when aborted.
 */
export async function connectQmp(path: string, options: QmpOptions = {}): Promise<Qmp> {
  const { limits = LIMITS, onEvent = () => {}, signal } = options;
  if (signal?.aborted) throw signal.reason;
  const { fd, pid } = connect(path);
  const connection = new QmpConnection(path, new Socket({ fd }), pid, limits, onEvent);
  const abort = () => connection.close();
  signal?.addEventListener("abort", abort, { once: true });
  monitorChannel.publish({ path, state: "waiting" } satisfies MonitorMessage);
  try {
    await connection.greeting;
    await connection.execute("qmp_capabilities");
    return connection;
  } catch (error) {
    connection.close();
    throw signal?.aborted ? signal.reason : error;
  } finally {
    monitorChannel.publish({ path, state: "settled" } satisfies MonitorMessage);
    signal?.removeEventListener("abort", abort);
  }
}

function connect(path: string): { fd: number; pid: number } {
  try {
    return loadNative().connectUnix(path);
  } catch (error) {
    throw toXFilterError(error);
  }
}

class QmpConnection implements Qmp {
  readonly greeting: Promise<unknown>;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #rest = "";
  #received = 0;
  #failure: XFilterError | undefined;

  readonly peer: number;
  readonly #path: string;
  readonly #socket: Socket;
  readonly #limits: QmpLimits;
  readonly #listener: (event: QmpEvent) => void;

  constructor(path: string, socket: Socket, peer: number, limits: QmpLimits, listener: (event: QmpEvent) => void) {
    this.peer = peer;
    this.#path = path;
    this.#socket = socket;
    this.#limits = limits;
    this.#listener = listener;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text));
    socket.on("error", (error) =>
      this.#fail("QMP_CLOSED", `the connection to ${path} failed: ${error.message}`, ONE_CLIENT),
    );
    socket.on("close", () =>
      this.#fail("QMP_CLOSED", `${path} closed the connection`, `QEMU has ended, or ${ONE_CLIENT}`),
    );
    this.greeting = this.#answer(GREETING);
    socket.unref();
  }

  get open(): boolean {
    return this.#failure === undefined;
  }

  async execute(command: string, args: Record<string, unknown> = {}, signal?: AbortSignalLike): Promise<unknown> {
    if (signal?.aborted) throw signal.reason;
    const id = ++this.#lastId;
    const answer = this.#answer(id);
    if (this.open) this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return unlessAborted(answer, signal ? [signal] : []);
  }

  close(): void {
    this.#fail("QMP_CLOSED", `the connection to ${this.#path} was closed`, "Attach again");
  }

  #answer(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      if (this.#waiting.size === 0) this.#received = 0;
      const silent = () =>
        this.#fail("QMP_TIMEOUT", `${this.#path} did not answer within ${this.#limits.timeoutMs} ms`, ONE_CLIENT);
      this.#waiting.set(id, { resolve, reject, timer: setTimeout(silent, this.#limits.timeoutMs) });
    });
  }

  /** Takes whole lines. What comes between two answers, events too, may not be more than the limit. */
  #receive(text: string): void {
    if (this.#failure) return;
    this.#received += text.length;
    const unanswered = this.#waiting.size > 0 ? this.#received : this.#rest.length;
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    let wrong = unanswered > this.#limits.maxBytes ? `sent more than ${this.#limits.maxBytes} bytes` : undefined;
    for (const line of lines) {
      if (wrong !== undefined) break;
      if (line.trim() !== "") wrong = this.#take(line);
    }
    if (wrong !== undefined) this.#fail("QMP_INVALID", `${this.#path} ${wrong}`, NOT_QMP);
  }

  /** What is wrong with the message, if anything is. */
  #take(line: string): string | undefined {
    const message = parseObject(line);
    if (!message) return "sent what is no QMP message";
    if ("event" in message && !this.#waiting.has(GREETING)) {
      this.#listener(toEvent(message));
      return undefined;
    }
    const id = "QMP" in message ? GREETING : message.id;
    const waiting = typeof id === "number" ? this.#waiting.get(id) : undefined;
    if (!waiting) return "sent an answer that nobody asked for";
    this.#waiting.delete(id as number);
    this.#received = 0;
    clearTimeout(waiting.timer);
    if ("error" in message) waiting.reject(refusal(message.error));
    else waiting.resolve(message.return);
    return undefined;
  }

  #fail(code: "QMP_CLOSED" | "QMP_INVALID" | "QMP_TIMEOUT", what: string, advice: string): void {
    if (this.#failure) return;
    const failure = new XFilterError(code, what, advice);
    this.#failure = failure;
    this.#rest = "";
    this.#socket.destroy();
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(failure);
    }
    this.#waiting.clear();
  }
}

function toEvent({ event, timestamp }: Record<string, unknown>): QmpEvent {
  const { seconds, microseconds } = (timestamp ?? {}) as { seconds?: unknown; microseconds?: unknown };
  return { name: String(event), microseconds: Number(seconds) * 1e6 + Number(microseconds) };
}

function refusal(error: unknown): XFilterError {
  const { desc } = (error ?? {}) as { desc?: unknown };
  const why = typeof desc === "string" ? desc.slice(0, 500) : "no reason given";
  return new XFilterError(
    "QMP_REFUSED",
    `QEMU refused a command: ${why}`,
    "Check that this QEMU is not too old for it",
  );
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
