import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { tellOfWaiting } from "../../lib/cli/waiting.ts";
import { connectQmp } from "../../lib/sources/qmp.ts";
import { FakeQmp } from "../lib/fake-qmp.ts";

let monitor: FakeQmp;

beforeEach(async () => {
  monitor = await FakeQmp.listen();
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  monitor.close();
});

function terminal(isTTY: boolean) {
  const said: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      said.push(String(chunk));
      done();
    },
  });
  return { said, stream: Object.assign(stream, { isTTY }) };
}

describe("whoever waits for a monitor that another client holds", () => {
  it("is told so at a terminal, once and after a while", async () => {
    const { said, stream } = terminal(true);
    const holder = await connectQmp(monitor.path);
    const stop = tellOfWaiting(stream);
    const waiting = connectQmp(monitor.path);
    vi.advanceTimersByTime(900);
    expect(said).toEqual([]);
    vi.advanceTimersByTime(5_000);
    expect(said).toEqual([`xfilter: waiting for the monitor ${monitor.path}: another client may hold it\n`]);
    holder.close();
    (await waiting).close();
    stop();
    expect(said).toHaveLength(1);
  });
  it("is told nothing when it answers", async () => {
    const { said, stream } = terminal(true);
    const stop = tellOfWaiting(stream);
    (await connectQmp(monitor.path)).close();
    vi.advanceTimersByTime(5_000);
    stop();
    expect(said).toEqual([]);
  });
  it("is told nothing where nobody reads", async () => {
    const { said, stream } = terminal(false);
    const holder = await connectQmp(monitor.path);
    const stop = tellOfWaiting(stream);
    const waiting = connectQmp(monitor.path);
    vi.advanceTimersByTime(5_000);
    holder.close();
    (await waiting).close();
    stop();
    expect(said).toEqual([]);
  });
});
