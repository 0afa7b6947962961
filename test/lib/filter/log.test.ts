import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { XFilterError } from "../../../lib/errors.ts";
import { createFilter, type Filter, type FilterLogger } from "../../../lib/filter/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { MemoryGuest } from "../../../lib/testing/memory-guest.ts";

type Line = Record<string, unknown> & { readonly level: string; readonly message: string };

let guest: MemoryGuest;
let backend: MemoryBackend;
let filter: Filter;
let lines: Line[];

beforeEach(() => {
  guest = new MemoryGuest();
  guest.processes = [{ pid: 103, uid: 1003, comm: "\u202e\u001b[2J" }];
  guest.flows = [{ pid: 103, localPort: 40003, remotePort: 22 }];
  backend = new MemoryBackend();
  lines = [];
});

afterEach(() => filter.stop());

const write = (level: string) => (fields: object, message: string) => void lines.push({ level, message, ...fields });
const keeping = (): FilterLogger => ({
  ...{ debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") },
});

async function started(logger: FilterLogger): Promise<void> {
  const rules = ["deny tcp from any to any 22 out uid 1003"];
  filter = createFilter({ ...{ guest: guest.asGuest(), backend, id: "vm1", rules, intervalMs: 5, logger } });
  await filter.start();
}

const logged = (event: string) => lines.filter((line) => line.event === event);

describe("a filter with a logger", () => {
  it("tells of whom it blocks with all that is known, and nothing that the guest chose acts on a terminal", async () => {
    await started(keeping());
    const [line] = logged("set");
    expect(line).toMatchObject({
      ...{ level: "info", guest: "vm1", rule: "deny tcp from any to any 22 out uid 1003" },
      message: "in force: out tcp4 10.0.0.2:40003 198.51.100.1:22 drop",
      owner: { pid: 103, uid: 1003, comm: "\\u202e\\x1b[2J" },
    });
    // pino's lines are JSON with a time of their own.
    expect(JSON.parse(JSON.stringify(line))).toEqual(line);
    expect(line).not.toHaveProperty("time");
    expect(logged("started")).toMatchObject([{ level: "info", backend: "memory", interfaces: ["tap0"] }]);
  });

  it("lets no error act on a terminal, whomever it quotes", async () => {
    await started(keeping());
    guest.failure = new XFilterError("QMP_REFUSED", "QEMU refused a command: \u009b2J", "Is it very old?");
    await expect.poll(() => logged("unreadable")).toHaveLength(1);
    expect(JSON.stringify(logged("unreadable"))).not.toContain("\u009b");
  });

  it("calls what needs somebody an error, and says what to do", async () => {
    await started(keeping());
    guest.failure = new XFilterError("WALK_BUDGET", "it takes too long", "Give it more time");
    await expect
      .poll(() => logged("unreadable"))
      .toMatchObject([{ level: "error", applied: "hold", error: { code: "WALK_BUDGET" } }]);
    expect(logged("unreadable")[0]!.message).toMatch(/Give it more time/);
    guest.failure = null;
    await expect.poll(() => logged("readable")).toMatchObject([{ level: "info" }]);
    await filter.stop();
    expect(lines.at(-1)).toMatchObject({ level: "info", event: "ended", message: "stopped", error: null });
  });

  it("calls the end an error where the guest is gone", async () => {
    await started(keeping());
    guest.failure = new XFilterError("SOURCE_GONE", "its QEMU has ended", "");
    await expect.poll(() => logged("ended")).toMatchObject([{ level: "error", error: { code: "SOURCE_GONE" } }]);
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("full");
      },
    ],
    [
      "rejects",
      async () => {
        throw new Error("full");
      },
    ],
  ])("goes on when the logger %s", async (_, fails) => {
    await started({ debug: fails, info: fails, warn: fails, error: fails });
    expect(backend.held.size).toBe(1);
    const before = filter.status().polls;
    await expect.poll(() => filter.status().polls).toBeGreaterThan(before + 2);
    expect(filter.status().running).toBe(true);
  });

  it("calls the logger's methods as methods", async () => {
    class Logger {
      readonly #lines: unknown[] = [];
      debug(fields: object): void {
        this.#lines.push(fields);
      }
      info = this.debug;
      warn = this.debug;
      error = this.debug;
      get count() {
        return this.#lines.length;
      }
    }
    const logger = new Logger();
    await started(logger);
    expect(logger.count).toBe(2);
  });

  it("refuses at once what is no logger", async () => {
    await expect(started({ info() {} } as unknown as FilterLogger)).rejects.toMatchObject({
      code: "ERR_INVALID_OPTION",
    });
  });
});
