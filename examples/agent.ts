import { watch } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as client from "prom-client";
import { introspect } from "xfilter-core";
import { iptables, nftables } from "xfilter-core/backends";
import { type FilterMetrics, filterMetrics } from "xfilter-core/metrics";
import { parseRules } from "xfilter-core/rules";
import { GuestKeeper, type KeeperOptions, type Task } from "./guest-keeper.ts";

// An agent for all guests of a host, each by a file NAME.json in one directory:
//
//   {"target": "qemu:/run/vm1.qmp", "rules": ["deny tcp from any to any 22 out uid 1003"], "backend": "nftables"}
//
// A file that comes starts a filter, one that changes changes its rules, one that goes ends it. Of a file that is wrong it is told, and
// what was in force stays. A guest that is not there is tried again. SIGTERM ends the agent and leaves all in force, for the next one
// to go on without a gap; SIGINT takes all out.

export interface AgentOptions extends KeeperOptions {
  readonly directory: string;
  readonly metrics?: FilterMetrics;
  /** Milliseconds from one look at the directory to the next, where nothing is heard of it: 5,000 if not given. */
  readonly lookMs?: number;
}

/** Editors and copies make several changes of one. */
const SETTLE_MS = 100;

export class Agent {
  readonly #options: AgentOptions;
  readonly #keepers = new Map<string, GuestKeeper>();
  /** What the files said when they were read last, right or wrong, or why they could not be. */
  readonly #texts = new Map<string, string>();
  /** Those that were not there at the last look. */
  #missing: readonly string[] = [];
  #running: Promise<void> | undefined;
  readonly #stop = new AbortController();
  /** Aborted when something happened in the directory. */
  #change = new AbortController();

  constructor(options: AgentOptions) {
    this.#options = options;
  }

  /** Ends when `stop()` is called. Rejects for a directory that cannot be watched. */
  run(): Promise<void> {
    this.#running ??= this.#run();
    return this.#running;
  }

  /** What is in force is left, or taken out: whether all of that could be done. */
  async stop({ keep }: { readonly keep: boolean }): Promise<boolean> {
    this.#stop.abort();
    this.#change.abort();
    await this.#running?.catch(() => {});
    const stopped = await Promise.all(Array.from(this.#keepers.values(), (keeper) => keeper.stop({ keep })));
    return stopped.every(Boolean);
  }

  async #run(): Promise<void> {
    const { directory, logger, lookMs = 5_000 } = this.#options;
    const { signal } = this.#stop;
    const watcher = watch(directory, () => this.#change.abort());
    watcher.on("error", (error) => logger.error(fieldsOf(error), "the directory is looked at, but not watched"));
    while (!signal.aborted) {
      this.#change = new AbortController();
      await this.#look().catch((error) => logger.error(fieldsOf(error), "the directory cannot be read"));
      await sleep(lookMs, null, { signal: this.#change.signal }).catch(() => {});
      await sleep(SETTLE_MS, null, { signal }).catch(() => {});
    }
    watcher.close();
  }

  async #look(): Promise<void> {
    const { directory, logger, backends } = this.#options;
    const names = (await readdir(directory)).filter((name) => /^[^.].*\.json$/.test(name));
    const ids = names.map((name) => name.slice(0, -".json".length));
    for (const id of ids) {
      const text = await readFile(join(directory, `${id}.json`), "utf8").catch((error: Error) => error);
      if (String(text) === this.#texts.get(id)) continue;
      this.#texts.set(id, String(text));
      try {
        if (text instanceof Error) throw text;
        this.#apply(id, parseTask(text, Object.keys(backends)));
      } catch (error) {
        logger.error({ guest: id, ...fieldsOf(error) }, `${id}.json cannot be used, and what was in force stays`);
      }
    }
    const missing = [...this.#texts.keys()].filter((id) => !ids.includes(id));
    // Some editors take the old file away before the new one is there: a guest is not let go for that.
    for (const id of missing) if (this.#missing.includes(id)) this.#remove(id);
    this.#missing = missing;
  }

  #apply(id: string, task: Task): void {
    const keeper = this.#keepers.get(id);
    if (keeper?.change(task)) return;
    this.#keepers.set(id, new GuestKeeper(id, task, this.#options, keeper?.stop({ keep: false })));
  }

  #remove(id: string): void {
    this.#texts.delete(id);
    const keeper = this.#keepers.get(id);
    void keeper?.stop({ keep: false }).then(() => {
      if (this.#keepers.get(id) !== keeper) return;
      this.#keepers.delete(id);
      this.#options.metrics?.forget(id);
    });
  }
}

/** Throws for a file that is wrong, with what is. */
function parseTask(text: string, backends: readonly string[]): Task {
  const { target, rules, backend = backends[0], ...others } = JSON.parse(text);
  if (typeof target !== "string") throw new TypeError('"target" is no text such as "qemu:/run/vm1.qmp".');
  if (!Array.isArray(rules)) throw new TypeError('"rules" is no list.');
  if (!backends.includes(backend)) throw new TypeError(`"backend" is none of ${backends.join(", ")}.`);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new TypeError(`${JSON.stringify(unknown)} is none of target, rules, backend.`);
  return { target, rules: parseRules(rules), backend };
}

function fieldsOf(error: unknown): object {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return { error: { code, message } };
}

/** Logs to the standard output, serves metrics on the loopback device, and runs until a signal comes: whether it ended well. */
export async function runAgent(options: Omit<AgentOptions, "logger" | "metrics">, port: number): Promise<boolean> {
  const write = (level: string) => (fields: object, message: string) =>
    void process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`);
  const logger = { debug: () => {}, info: write("info"), warn: write("warn"), error: write("error") };
  // Whoever reads the log may go: the filters stay.
  process.stdout.on("error", () => {});
  const server = createServer((_, response) => {
    const failed = (error: unknown) => void response.writeHead(500).end(String(error));
    client.register
      .metrics()
      .then((text) => response.setHeader("content-type", client.register.contentType).end(text), failed);
  });
  server.on("error", (error) => logger.error(fieldsOf(error), "metrics are not served"));
  server.listen(port, "127.0.0.1");
  const agent = new Agent({ ...options, logger, metrics: filterMetrics(client) });
  const ended = new Promise<boolean>((resolve) => {
    process.once("SIGTERM", () => resolve(agent.stop({ keep: true })));
    process.once("SIGINT", () => resolve(agent.stop({ keep: false })));
  });
  await agent.run();
  const well = await ended;
  server.close();
  server.closeAllConnections();
  return well;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory = "/etc/xfilter/guests", port = "9464"] = process.argv.slice(2);
  const backends = { nftables, iptables };
  const well = await runAgent(
    { directory, attach: introspect, backends, stateDirectory: "/run/xfilter" },
    Number(port),
  );
  process.exitCode = well ? 0 : 1;
}
