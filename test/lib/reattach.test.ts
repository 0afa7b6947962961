import { describe, expect, it } from "vitest";
import { type Attachable, AttachedGuest } from "../../lib/attached-guest.ts";
import { toXFilterError } from "../../lib/errors.ts";
import type { NativeGuest, NativeJob, NativeSnapshot, NativeWalkOptions } from "../../lib/native.ts";
import type { Pauses } from "../../lib/pause/pauses.ts";
import { columns } from "../../lib/testing/columns.ts";
import { KERNEL } from "../../lib/testing/kernel.ts";

interface Made {
  moves?: boolean;
  pauses?: Pauses;
}

const rejected = (code: string) => toXFilterError({ code, message: "changed", advice: "" });

/** A guest of which the `n`th attach reads a release "n", and whose walks fail until the attach numbered `settles`. */
function changingGuest(settles: number, code = "GUEST_CHANGED", { moves = false, pauses }: Made = {}) {
  let attaches = 0;
  /** What the monitor answers next, in place of what it was told. */
  const answers: Promise<boolean>[] = [];
  const state = { told: false, gone: false, attaching: Promise.resolve() };
  const closed: string[] = [];
  const polled: string[] = [];
  const walked: NativeWalkOptions[] = [];
  const native = (): NativeGuest => {
    const release = String(attaches++);
    const job = <T>(result: T): NativeJob<T> => ({
      promise: Number(release) < settles ? Promise.reject(rejected(code)) : Promise.resolve(result),
      cancel() {},
    });
    let watching = release;
    const own: NativeGuest = {
      profile: "{}",
      kernel: { ...KERNEL, release },
      walk: (options) => {
        walked.push(options);
        return job<NativeSnapshot>(columns([{ pid: 1, comm: "init" }]));
      },
      cpus: () => job([{ index: 0, userMode: false, rip: 0n, task: null }]),
      watch: () => ({
        moveTo: (guest) => {
          watching = guest.kernel.release;
        },
        poll: () => {
          polled.push(watching);
          return {
            promise: Number(watching) < settles ? Promise.reject(rejected(code)) : Promise.resolve(null),
            cancel() {},
          };
        },
      }),
      requireIntact: () => {
        if (state.gone) throw Object.assign(new Error("QEMU has ended"), { code: "SOURCE_GONE", advice: "" });
      },
      close: () => void closed.push(release),
    };
    return own;
  };
  const booting: Error[] = [];
  const live: Attachable = {
    changed: async () => {
      const answer = answers.shift();
      if (answer) return answer;
      const { told } = state;
      state.told = false;
      return told;
    },
    interfaces: async () => [],
    moves,
    attach: async () => {
      await state.attaching;
      const error = booting.pop();
      if (error) throw error;
      return { native: native() };
    },
    close: () => void closed.push("source"),
  };
  return { guest: new AttachedGuest(native(), 5000, live, pauses), closed, polled, walked, booting, answers, state };
}

describe("a guest that has changed", () => {
  it("is attached to anew, and the walk made again", async () => {
    const { guest, closed } = changingGuest(1);
    const [first, second] = await Promise.all([guest.snapshot(), guest.snapshot()]);
    expect([first.processes.length, second.processes.length]).toEqual([1, 1]);
    expect(guest.kernel.release).toBe("1");
    expect(closed).toEqual(["0"]);
    await guest.close();
    expect(closed).toEqual(["0", "1", "source"]);
  });
  it("again and again is an error at last", async () => {
    const { guest } = changingGuest(Number.POSITIVE_INFINITY);
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "GUEST_CHANGED" });
  });
  it("is watched on, which is told of", async () => {
    const { guest, polled } = changingGuest(1);
    const { value } = await guest.watch({ intervalMs: 1 }).next();
    expect(polled).toEqual(["0", "1"]);
    expect([value!.reattached, value!.quality]).toEqual([true, null]);
  });
  it("and has no kernel yet, because it boots, is waited for", async () => {
    const { guest, booting } = changingGuest(1);
    booting.push(rejected("TYPES_INVALID"), rejected("KERNEL_NOT_FOUND"));
    expect((await guest.snapshot()).processes).toHaveLength(1);
    expect(guest.kernel.release).toBe("1");
  });
  it("is attached to once, also when one walk waited for it while another one attached", async () => {
    const { guest, closed, booting } = changingGuest(1);
    booting.push(rejected("KERNEL_NOT_FOUND"));
    const waiting = guest.snapshot();
    await expect.poll(() => booting).toEqual([]);
    await Promise.all([guest.snapshot(), waiting]);
    expect(guest.kernel.release).toBe("1");
    expect(closed).toEqual(["0"]);
  });
  it("is attached to once, also when one walk hears of the change after another one attached", async () => {
    const { guest, closed, answers } = changingGuest(1);
    let answer = (_: boolean) => {};
    answers.push(
      new Promise((resolve) => {
        answer = resolve;
      }),
    );
    const late = guest.snapshot();
    await guest.snapshot();
    expect(closed).toEqual(["0"]);
    answer(true);
    await late;
    expect(closed).toEqual(["0"]);
  });
  it("is not waited for any longer when nobody wants it", async () => {
    const { guest, booting } = changingGuest(1);
    booting.push(...Array.from({ length: 1000 }, () => rejected("KERNEL_NOT_FOUND")));
    const abort = AbortSignal.timeout(50);
    await expect(guest.snapshot({ signal: abort })).rejects.toMatchObject({ name: "TimeoutError" });
    const next = guest.snapshot();
    const closed = expect(next).rejects.toMatchObject({ code: "CLOSED" });
    await guest.close();
    await closed;
  });
  it("by its monitor's word is attached to anew before it is walked over", async () => {
    const { guest, polled, state } = changingGuest(0);
    const watch = guest.watch({ intervalMs: 1 });
    state.told = true;
    expect((await watch.next()).value!.reattached).toBe(true);
    expect(polled).toEqual(["1"]);
    await guest.close();
  });
  it("and whose monitor is away for a moment is waited for", async () => {
    const { guest, booting } = changingGuest(1);
    booting.push(rejected("QMP_CLOSED"), rejected("SOURCE_NOT_FOUND"));
    expect((await guest.snapshot()).processes).toHaveLength(1);
  });
  it("and whose QEMU has ended is gone, whatever could not be asked", async () => {
    const { guest, booting, state } = changingGuest(0);
    booting.push(rejected("SOURCE_NOT_FOUND"));
    Object.assign(state, { told: true, gone: true });
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  });
  it("keeps nobody waiting who aborts while it is attached to anew", async () => {
    const { guest, state } = changingGuest(1);
    let attached = () => {};
    state.attaching = new Promise((resolve) => {
      attached = resolve;
    });
    const reason = new Error("enough");
    const abort = new AbortController();
    const aborted = expect(guest.snapshot({ signal: abort.signal })).rejects.toBe(reason);
    const other = guest.snapshot();
    setTimeout(() => abort.abort(reason), 20);
    await aborted;
    attached();
    expect((await other).processes).toHaveLength(1);
  });
  it("is not attached to anew for any other error", async () => {
    const { guest, closed } = changingGuest(1, "SOURCE_GONE");
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
    expect(closed).toEqual([]);
  });
});

describe("a guest that goes on elsewhere, as a domain of Xen does", () => {
  it("is attached to there when it ends during a walk", async () => {
    const { guest, answers, closed } = changingGuest(1, "SOURCE_GONE", { moves: true });
    answers.push(Promise.resolve(false), Promise.resolve(true));
    expect((await guest.snapshot()).processes).toHaveLength(1);
    expect([guest.kernel.release, closed]).toEqual(["1", ["0"]]);
  });
  it("is waited for although it has ended where it was", async () => {
    const { guest, booting, state } = changingGuest(1, "GUEST_CHANGED", { moves: true });
    state.gone = true;
    booting.push(rejected("KERNEL_NOT_FOUND"), rejected("SOURCE_NOT_FOUND"));
    expect((await guest.snapshot()).processes).toHaveLength(1);
    expect(await guest.interfaces()).toEqual([]);
  });
  it("is over when its source says so", async () => {
    const { guest, answers } = changingGuest(1, "SOURCE_GONE", { moves: true });
    answers.push(Promise.resolve(false), Promise.reject(rejected("SOURCE_GONE")));
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  });
  it("is over when nothing says that it has moved", async () => {
    const { guest } = changingGuest(Number.POSITIVE_INFINITY, "SOURCE_GONE", { moves: true });
    await expect(guest.snapshot()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  });
});

describe("a guest that is paused for its walks", () => {
  it.each([
    ["is read once while it stands still by us", true, 1000],
    ["is made sure of where it stands still by somebody else, who may resume it meanwhile", false, 5000],
  ])("%s", async (_, stopped, budgetMs) => {
    const pauses = {
      budgetMs: 1000,
      during: async (work: (stopped: boolean) => Promise<unknown>) => ({ result: await work(stopped), pauseMs: 0 }),
    } as unknown as Pauses;
    const { guest, walked } = changingGuest(0, "", { pauses });
    await guest.snapshot();
    expect(walked).toMatchObject([{ paused: stopped, budgetMs }]);
  });
});

describe("the CPUs of a guest", () => {
  it("are read while it is paused, if it is for its walks", async () => {
    const done: string[] = [];
    const pauses = {
      budgetMs: 1000,
      during: async (work: () => Promise<unknown>) => {
        done.push("pause");
        const result = await work();
        done.push("resume");
        return { result, pauseMs: 1 };
      },
      close: async () => {},
    } as unknown as Pauses;
    const { guest } = changingGuest(0, "", { pauses });
    expect(await guest.cpus()).toHaveLength(1);
    expect(done).toEqual(["pause", "resume"]);
  });
  it("are those of the guest that it has become", async () => {
    const { guest, state } = changingGuest(0);
    state.told = true;
    await guest.cpus();
    expect(guest.kernel.release).toBe("1");
  });
});
