import { describe, expect, it } from "vitest";
import { AttachedGuest } from "../../lib/attached-guest.ts";
import type { NativeCpu, NativeGuest, NativeSnapshot } from "../../lib/native.ts";
import { columns } from "../../lib/testing/columns.ts";
import { KERNEL } from "../../lib/testing/kernel.ts";

const CPU: NativeCpu = {
  ...{ index: 0, userMode: false, rip: 0xffffffff81000000n },
  task: { cpu: 0, pid: 1, tid: 7, comm: "init", address: 0xffff888003a40000n, processes: 70, listed: true },
};

/** A guest whose walks end when the test says so. */
function fakeGuest() {
  const events: string[] = [];
  const walks: (() => void)[] = [];
  const native: NativeGuest = {
    profile: "{}",
    kernel: KERNEL,
    walk({ budgetMs }) {
      events.push(`walk ${budgetMs}`);
      const promise = new Promise<NativeSnapshot>((resolve) => {
        walks.push(() => resolve(columns([{ pid: 1, comm: "init" }])));
      });
      return { promise, cancel() {} };
    },
    cpus: () => ({ promise: Promise.resolve([CPU]), cancel() {} }),
    watch: () => ({ moveTo: () => {}, poll: () => ({ promise: Promise.resolve(null), cancel() {} }) }),
    requireIntact: () => {},
    close: () => void events.push("close"),
  };
  const endWalks = () => {
    for (const end of walks) end();
  };
  return { guest: new AttachedGuest(native, 5000), events, endWalks };
}

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

describe("a guest", () => {
  it("walks within its budget", async () => {
    const { guest, events, endWalks } = fakeGuest();
    const snapshot = guest.snapshot();
    endWalks();
    expect((await snapshot).process(1)?.comm).toBe("init");
    expect(events).toEqual(["walk 5000"]);
  });
  it("refuses a signal that is none", async () => {
    const error = { name: "TypeError", code: "ERR_INVALID_OPTION" };
    await expect(fakeGuest().guest.snapshot({ signal: "now" as never })).rejects.toMatchObject(error);
  });
  it.each([{ singal: undefined }, null, "now"])("refuses %j as options of a snapshot", async (options) => {
    const error = { name: "TypeError", code: "ERR_INVALID_OPTION" };
    await expect(fakeGuest().guest.snapshot(options as never)).rejects.toMatchObject(error);
  });
  it("waits for the walks that run before it closes", async () => {
    const { guest, events, endWalks } = fakeGuest();
    const snapshots = Promise.all([guest.snapshot(), guest.snapshot()]);
    const closed = guest.close();
    await nextTurn();
    expect(events).toEqual(["walk 5000", "walk 5000"]);
    endWalks();
    await closed;
    expect(events.at(-1)).toBe("close");
    expect(await snapshots).toHaveLength(2);
  });
  it("closes once, however often it is told to", async () => {
    const { guest, events } = fakeGuest();
    await Promise.all([guest.close(), guest.close()]);
    await guest.close();
    expect(events).toEqual(["close"]);
  });
  it("refuses walks from the moment it is told to close", async () => {
    const { guest } = fakeGuest();
    const closed = guest.close();
    await expect(guest.snapshot()).rejects.toMatchObject({ name: "XFilterError", code: "CLOSED" });
    await closed;
  });
  it("closes at the end of `await using`", async () => {
    const { guest, events } = fakeGuest();
    await guest[Symbol.asyncDispose]();
    expect(events).toEqual(["close"]);
  });
  it("has its CPUs in JSON with addresses in hex", async () => {
    const [cpu] = await fakeGuest().guest.cpus();
    expect(cpu?.task?.address).toBe(0xffff888003a40000n);
    expect(JSON.stringify(cpu)).toBe(
      '{"index":0,"mode":"kernel","rip":"0xffffffff81000000","task":{"cpu":0,"pid":1,"tid":7,"comm":"init",' +
        '"address":"0xffff888003a40000","processes":70,"listed":true}}',
    );
  });
  it("refuses to tell its CPUs from the moment it is told to close", async () => {
    const { guest } = fakeGuest();
    await guest.close();
    await expect(guest.cpus()).rejects.toMatchObject({ name: "XFilterError", code: "CLOSED" });
  });
  it("does not know, of an image, by which devices the guest was connected; nor anything once it is closed", async () => {
    const { guest } = fakeGuest();
    await expect(guest.interfaces()).rejects.toMatchObject({ name: "XFilterError", code: "INTERFACE_UNKNOWN" });
    await guest.close();
    await expect(guest.interfaces()).rejects.toMatchObject({ code: "CLOSED" });
  });
  it("has its kernel in JSON with bytes in decimal", () => {
    const { kernel } = fakeGuest().guest;
    expect(kernel.physBase).toBe(-0x1000000n);
    expect(JSON.stringify(kernel)).toBe(
      '{"format":"elf","memoryBytes":"100663296","architecture":"x86_64","release":"6.1.0",' +
        '"banner":"Linux version 6.1.0","pagingLevels":4,"kaslrOffset":"436207616","physBase":"-16777216",' +
        '"buildId":null,"typesFrom":"guest","symbolsFrom":"guest","missing":[],"steps":[]}',
    );
  });
});
