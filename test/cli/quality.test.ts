import { Writable } from "node:stream";
import { describe, expect, it, vi } from "vitest";
import { Output } from "../../lib/cli/output.ts";
import { psCommand } from "../../lib/cli/ps.ts";
import { incompleteness } from "../../lib/cli/quality.ts";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns, QUALITY } from "../../lib/testing/columns.ts";

const guest = vi.hoisted(() => ({ kernel: { format: "raw" }, snapshot: vi.fn(), close: async () => {} }));
vi.mock("../../lib/index.ts", () => ({ introspect: async () => guest }));

describe("what a listing may lack", () => {
  it("is nothing when nothing went wrong", () => {
    expect(incompleteness({ ...QUALITY, pauseMs: 0, retries: 3 }, false)).toBeUndefined();
  });
  it.each([
    [{ badPointers: 1 }, "1 unreadable object."],
    [{ badPointers: 2, limited: 1 }, "2 unreadable objects, 1 value beyond a bound."],
    [{ torn: 1, abandoned: 2 }, "1 torn link, 2 objects left out for it."],
  ])("is told of %j", (losses, told) => {
    expect(incompleteness({ ...QUALITY, pauseMs: 0, ...losses }, false)).toContain(
      `the listing may be incomplete: ${told}`,
    );
  });
});

it("what a listing of a guest that runs may lack is no matter of its image", () => {
  const told = incompleteness({ ...QUALITY, pauseMs: 0, torn: 1 }, true);
  expect(told).toContain("try again, or with --pause");
});

describe("xfilter ps of a damaged guest", () => {
  it("warns after the listing, which stays as it is", async () => {
    const native = columns([{ pid: 1, comm: "init" }]);
    guest.snapshot.mockResolvedValue(new WalkedSnapshot({ ...native, quality: { ...QUALITY, badPointers: 1 } }));
    const said: string[] = [];
    const stdout = new Writable({
      write: (chunk, _encoding, done) => {
        said.push(JSON.parse(String(chunk)).comm);
        done();
      },
    });
    const { signal } = new AbortController();
    const context = { signal, output: new Output(stdout, {}, signal), warn: (text: string) => said.push(text) };
    await psCommand(context).parseAsync(["memory.elf", "--json"], { from: "user" });
    expect(said).toEqual(["init", expect.stringContaining("1 unreadable object")]);
  });
});
