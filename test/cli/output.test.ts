import { Writable } from "node:stream";
import { describe, expect, it } from "vitest";
import { Output } from "../../lib/cli/output.ts";

const never = new AbortController().signal;

/** A reader that takes its time, or fails. */
function reader({ isTTY = false, columns = 20, fail }: { isTTY?: boolean; columns?: number; fail?: string } = {}) {
  const written: string[] = [];
  let waiting = 0;
  let mostWaiting = 0;
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      waiting += chunk.length;
      mostWaiting = Math.max(mostWaiting, waiting);
      written.push(chunk);
      setImmediate(() => {
        waiting -= chunk.length;
        done(fail ? Object.assign(new Error(fail), { code: fail }) : null);
      });
    },
  });
  return {
    stream: Object.assign(stream, { isTTY, columns }),
    text: () => written.join(""),
    writes: () => written.length,
    mostWaiting: () => mostWaiting + stream.writableLength,
  };
}

const manyLines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ${"x".repeat(50)}`);

describe("output", () => {
  it("arrives whole and in order", async () => {
    const to = reader();
    await new Output(to.stream, {}, never).lines(manyLines);
    expect(to.text()).toBe(manyLines.map((line) => `${line}\n`).join(""));
  });
  it("waits for a slow reader", async () => {
    const to = reader();
    await new Output(to.stream, {}, never).lines(manyLines);
    expect(to.mostWaiting()).toBeLessThan(100_000);
  });
  it("stops quietly when the reader is gone", async () => {
    const to = reader({ fail: "EPIPE" });
    await new Output(to.stream, {}, never).lines(manyLines);
    expect(to.writes()).toBe(1);
  });
  it("fails when it cannot be written", async () => {
    const to = reader({ fail: "ENOSPC" });
    await expect(new Output(to.stream, {}, never).lines(manyLines)).rejects.toMatchObject({ code: "OUTPUT" });
  });
  it("stops at the end of a line when aborted", async () => {
    const to = reader();
    const abort = new AbortController();
    const printed = new Output(to.stream, {}, abort.signal).lines(manyLines);
    abort.abort(new Error("Ctrl-C"));
    await expect(printed).rejects.toThrow("Ctrl-C");
    expect(to.text()).toMatch(/^(line \d+ x{50}\n)+$/);
  });

  const table = (to: ReturnType<typeof reader>, env = {}) =>
    new Output(to.stream, env, never).table([{ title: "NAME", flexible: true }], [["x".repeat(40)]]);

  it("fits the terminal, with the header in bold", async () => {
    const to = reader({ isTTY: true });
    await table(to);
    expect(to.text()).toBe(`\x1b[1mNAME\x1b[22m\n${"x".repeat(19)}…\n`);
  });
  it.each([{ NO_COLOR: "1" }, { TERM: "dumb" }])("is plain with %j", async (env) => {
    const to = reader({ isTTY: true });
    await table(to, env);
    expect(to.text()).not.toContain("\x1b");
  });
  it("says that there is nothing in a table, to a reader only", async () => {
    const [columns, terminal, pipe] = [[{ title: "NAME" }], reader({ isTTY: true }), reader()];
    await new Output(terminal.stream, { NO_COLOR: "1" }, never).table(columns, []);
    await new Output(pipe.stream, {}, never).table(columns, []);
    expect([terminal.text(), pipe.text()]).toEqual(["NAME\n(none)\n", "NAME\n"]);
  });
  it("is plain and whole when it goes to a pipe", async () => {
    const to = reader();
    await table(to);
    expect(to.text()).toBe(`NAME\n${"x".repeat(40)}\n`);
  });
});
