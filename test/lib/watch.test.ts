import { beforeAll, describe, expect, it } from "vitest";
import { type Difference, type Guest, introspect } from "../../lib/index.ts";
import type { NativeDifference } from "../../lib/native.ts";
import { columns } from "../../lib/testing/columns.ts";
import { differences } from "../../lib/watch.ts";
import { unpack } from "../../vmcore-fixtures/unpack.ts";

const NOTHING = { gone: [], came: [], changedBefore: [], changedAfter: [] };

function changes(rows: Partial<Record<keyof typeof NOTHING, number[]>>) {
  const all: Record<keyof typeof NOTHING, number[]> = { ...NOTHING, ...rows };
  return {
    gone: Uint32Array.from(all.gone),
    came: Uint32Array.from(all.came),
    changedBefore: Uint32Array.from(all.changedBefore),
    changedAfter: Uint32Array.from(all.changedAfter),
  };
}

/** "nc" of uid 1003 became root. */
const PROMOTED: NativeDifference = {
  before: columns([{ pid: 539, comm: "nc", columns: { uid: 1003 } }]),
  after: columns([{ pid: 539, comm: "nc", columns: { uid: 0 } }]),
  processes: changes({ changedBefore: [0], changedAfter: [0] }),
  sockets: changes({}),
};

/** A watch over polls that are told; it ends behind the last one. */
function watch(polls: (NativeDifference | null)[], intervalMs = 1000, poll = () => {}) {
  const ended = new Error("no more polls");
  const waits: number[] = [];
  const iteration = differences(
    async () => {
      poll();
      if (polls.length === 0) throw ended;
      return { result: polls.shift()!, pauseMs: 0, reattached: false };
    },
    async (milliseconds) => void waits.push(milliseconds),
    intervalMs,
  );
  const all = async () => {
    const seen: Difference[] = [];
    try {
      for await (const difference of iteration) seen.push(difference);
    } catch (error) {
      if (error !== ended) throw error;
    }
    return seen;
  };
  return { all, waits };
}

function spend(milliseconds: number) {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

describe("differences", () => {
  it("tell what a thing was and what it is", async () => {
    const [difference] = await watch([PROMOTED]).all();
    const [{ before, after } = {}] = difference!.processes.changed;
    expect([before?.uid, after?.uid]).toEqual([1003, 0]);
    expect(difference!.processes.came).toEqual([]);
    expect(difference!.sockets.changed).toEqual([]);
  });
  it("are yielded where something changed, and only there", async () => {
    const seen = await watch([null, PROMOTED, null, null, PROMOTED]).all();
    expect(seen.map(({ initial, missedPolls }) => [initial, missedPolls])).toEqual([
      [false, 0],
      [false, 0],
    ]);
  });
  it("begin with all that there is", async () => {
    const seen = await watch([{ ...PROMOTED, processes: changes({ came: [0] }) }, PROMOTED]).all();
    expect(seen.map(({ initial }) => initial)).toEqual([true, false]);
    expect(seen[0]!.processes.came.map(({ pid }) => pid)).toEqual([539]);
  });
  it("count the polls that came to nothing because one took too long", async () => {
    let polls = 0;
    const slowFirst = () => {
      if (++polls === 1) spend(50);
    };
    const seen = await watch([null, null, PROMOTED], 20, slowFirst).all();
    expect(seen.map(({ missedPolls, quality }) => [missedPolls > 0, quality === null])).toEqual([
      [true, true],
      [false, false],
    ]);
  });
  it("are taken at the interval, however long a poll takes", async () => {
    const { all, waits } = watch([null, null], 1000, () => spend(30));
    await all();
    expect(waits[0]).toBeLessThan(980);
    // Here the second poll came at once; the third is due two intervals after the first.
    expect(waits[1]).toBeGreaterThan(1000);
  });
});

describe("a watch over a guest that stands still", () => {
  let guest: Guest;
  beforeAll(async () => {
    guest = await introspect((await unpack()).image);
  });

  it("says all that there is, then nothing, until it is aborted", async () => {
    const abort = new AbortController();
    const iteration = guest.watch({ intervalMs: 1, signal: abort.signal });
    const { value: first } = await iteration.next();
    const { processes, sockets } = await guest.snapshot();
    expect(first!.initial).toBe(true);
    const pids = (rows: Iterable<{ pid: number }>) => Array.from(rows, ({ pid }) => pid);
    expect(pids(first!.processes.came)).toEqual(pids(processes));
    const rows = (all: Iterable<{ sock: bigint; owners: unknown }>) => Array.from(all, (s) => [s.sock, s.owners]);
    expect(rows(first!.sockets.came)).toEqual(rows(sockets));
    setTimeout(() => abort.abort("enough"), 50);
    const rest = async () => {
      // On a busy machine, polls that were left out.
      for await (const { quality } of iteration) expect(quality).toBeNull();
    };
    await expect(rest()).rejects.toBe("enough");
  });
  it("ends with CLOSED when the guest is closed, at once", async () => {
    const other = await introspect((await unpack()).image);
    const iteration = other.watch({ intervalMs: 3_600_000 });
    await iteration.next();
    const next = iteration.next();
    const closed = expect(next).rejects.toMatchObject({ code: "CLOSED" });
    await new Promise((resolve) => setTimeout(resolve, 20));
    await other.close();
    await closed;
    expect(() => other.watch()).toThrow(expect.objectContaining({ code: "CLOSED" }));
  });
  it.each([{ intervalMs: 0 }, { intervalMs: Number.NaN }, { intervalMs: "1" }, { intervall: 5 }, { signal: 1 }])(
    "refuses %j",
    (options) => {
      expect(() => guest.watch(options as never)).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
    },
  );
});
