import { closeSync, fchmodSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { XFilterError } from "../errors.ts";
import { filterMetrics, type PromClient, type PromRegistry } from "../metrics/index.ts";
import { OutputError } from "./output.ts";

/** node_exporter looks when Prometheus asks, mostly four times a minute. */
const UPDATE_EVERY_MS = 5_000;

/** Metrics of this process's filters in a file, for node_exporter's collector of text files. It is there while they are measured. */
export class MetricsFile {
  readonly #path: string;
  readonly #register: PromRegistry;
  readonly #warn: (message: string) => void;
  readonly #timer: NodeJS.Timeout;
  #updating = Promise.resolve();
  #failing = false;

  /**
   * Measures from now on.
   *
   * @throws XFilterError: TOOL_NOT_FOUND where prom-client is not installed
   * @throws OutputError for a file that cannot be written; later, that is warned of
   */
  static async create(path: string, warn: (message: string) => void): Promise<MetricsFile> {
    const client = await importPromClient();
    filterMetrics(client);
    write(path, await client.register.metrics());
    return new MetricsFile(path, client.register, warn);
  }

  private constructor(path: string, register: PromRegistry, warn: (message: string) => void) {
    this.#path = path;
    this.#register = register;
    this.#warn = warn;
    this.#timer = setInterval(() => void this.update(), UPDATE_EVERY_MS).unref();
  }

  update(): Promise<void> {
    this.#updating = this.#updating.then(async () => {
      try {
        write(this.#path, await this.#register.metrics());
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) this.#warn((error as Error).message);
        this.#failing = true;
      }
    });
    return this.#updating;
  }

  /** Takes the file away: what it says would be believed for ever. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#updating;
    rmSync(this.#path, { force: true });
  }
}

/** In one step: a reader finds the old or the new text. The collector's user is another one, and may have made links there. */
function write(path: string, text: string): void {
  try {
    rmSync(`${path}.new`, { force: true });
    const file = openSync(`${path}.new`, "wx");
    try {
      writeFileSync(file, text);
      // A service's own files are nobody else's (umask). By its path it could be a link by now, to any file.
      fchmodSync(file, 0o644);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.new`, path);
  } catch (cause) {
    throw new OutputError(cause as Error, "The metrics", "The filter needs a directory with room for them (--metrics)");
  }
}

async function importPromClient(): Promise<PromClient> {
  try {
    return await import("prom-client");
  } catch (cause) {
    throw new XFilterError(
      "TOOL_NOT_FOUND",
      "metrics need the package prom-client, which is not installed beside xfilter-core",
      "Install it as xfilter-core was: npm install prom-client, or npm install -g prom-client",
      { cause },
    );
  }
}
