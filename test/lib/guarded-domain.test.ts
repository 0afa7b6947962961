import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { GuardedDomain, unpauseWithoutGuard } from "../../lib/pause/guarded-domain.ts";
import { FakeXen, uuid } from "./fake-xen.ts";

const DOMAIN = { id: 7, uuid: uuid("a") };
let xen: FakeXen;
beforeEach(() => {
  vi.useFakeTimers();
  xen = new FakeXen();
  xen.add(7, "vm1");
});
afterEach(() => vi.useRealTimers());

const hold = () => GuardedDomain.hold(DOMAIN, xen);
const paused = () => xen.pauses.get(7) ?? 0;
const counted = () => xen.calls.filter((call) => /pause/.test(call));

describe("a domain that is guarded", () => {
  it("is paused, and resumed, once for each stop", async () => {
    const domain = await hold();
    for (let i = 1; i <= 3; i++) {
      expect(await domain.stop(1000)).toBe("stopped");
      expect(paused()).toBe(1);
      vi.advanceTimersByTime(30);
      expect(await domain.resume()).toEqual({ milliseconds: 30, expired: false });
      expect(paused()).toBe(0);
    }
    expect(counted()).toHaveLength(6);
    expect(await domain.resume()).toBeUndefined();
    await domain.release();
    expect(counted()).toHaveLength(6);
  });
  it("is resumed when its time is up, and only then again by nobody", async () => {
    const domain = await hold();
    await domain.stop(50);
    await vi.advanceTimersByTimeAsync(60);
    expect(paused()).toBe(0);
    expect(await domain.resume()).toEqual({ milliseconds: 50, expired: true });
    expect(counted()).toEqual(["pause 7", "unpause 7"]);
  });
  it("is resumed when it is let go of", async () => {
    const domain = await hold();
    await domain.stop(1000);
    await domain.release();
    expect(paused()).toBe(0);
  });
  it("that somebody else has paused stays so", async () => {
    const domain = await hold();
    xen.pauses.set(7, 2);
    expect(await domain.stop(1000)).toBe("stood");
    expect(await domain.resume()).toBeUndefined();
    expect(paused()).toBe(2);
  });
  it("that is being saved stands", async () => {
    const domain = await hold();
    xen.change(7, { shutdown: "suspend" });
    expect(await domain.stop(1000)).toBe("stood");
    expect(counted()).toEqual([]);
  });
  it("that somebody else pauses, too, stays paused by them", async () => {
    const domain = await hold();
    await domain.stop(1000);
    xen.pauses.set(7, paused() + 1);
    expect(await domain.resume()).toMatchObject({ expired: false });
    expect(paused()).toBe(1);
  });
  it("that somebody else resumed meanwhile was none to walk in", async () => {
    const domain = await hold();
    await domain.stop(1000);
    xen.pauses.set(7, 0);
    expect(await domain.resume()).toMatchObject({ expired: true });
    expect(paused()).toBe(0);
  });
  it("that is gone is another, and is not paused", async () => {
    const domain = await hold();
    xen.add(7, "vm2", { uuid: uuid("b") });
    expect(await domain.stop(1000)).toBe("changed");
    xen.remove(7);
    expect(await domain.stop(1000)).toBe("changed");
    expect(counted()).toEqual([]);
  });
  it("that goes while it is paused never ran on", async () => {
    const domain = await hold();
    await domain.stop(1000);
    xen.remove(7);
    expect(await domain.resume()).toMatchObject({ expired: false });
  });
  it("is resumed although the first try fails", async () => {
    const domain = await hold();
    await domain.stop(1000);
    xen.failures.push(new Error("busy"));
    const resumed = domain.resume();
    await vi.advanceTimersByTimeAsync(200);
    expect(await resumed).toMatchObject({ expired: false });
    expect(paused()).toBe(0);
  });
  it("that cannot be resumed is told of, with what to do", async () => {
    const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const domain = await hold();
    await domain.stop(60_000);
    xen.failures.push(...Array.from({ length: 20 }, () => new Error("busy")));
    const failing = expect(domain.resume()).rejects.toThrow("busy");
    await vi.advanceTimersByTimeAsync(2_000);
    await failing;
    expect(write.mock.calls.flat().join("")).toContain("xl unpause 7");
    write.mockRestore();
    // And is tried again at the next stop.
    expect(await domain.stop(1000)).toBe("stopped");
    expect(paused()).toBe(1);
  });
  it("where Xen cannot be asked is not begun with", async () => {
    xen.failures.push(Object.assign(new Error("no Dom0"), { code: "XEN_UNAVAILABLE" }));
    await expect(hold()).rejects.toMatchObject({ code: "XEN_UNAVAILABLE" });
  });
});

describe("a domain whose guard was killed", () => {
  it("is resumed once, if it stands", async () => {
    xen.pauses.set(7, 1);
    await unpauseWithoutGuard(DOMAIN, xen);
    expect(paused()).toBe(0);
    await unpauseWithoutGuard(DOMAIN, xen);
    expect(counted()).toEqual(["unpause 7"]);
  });
  it("is resumed although the first try fails", async () => {
    xen.pauses.set(7, 1);
    xen.failures.push(new Error("busy"), new Error("busy"), new Error("busy"));
    const resumed = unpauseWithoutGuard(DOMAIN, xen);
    await vi.advanceTimersByTimeAsync(500);
    await resumed;
    expect(paused()).toBe(0);
  });
  it("that cannot be resumed is told of, with what to do", async () => {
    const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    xen.pauses.set(7, 1);
    xen.failures.push(...Array.from({ length: 21 }, () => new Error("busy")));
    const failing = expect(unpauseWithoutGuard(DOMAIN, xen)).rejects.toThrow("busy");
    await vi.advanceTimersByTimeAsync(2_000);
    await failing;
    expect(write.mock.calls.flat().join("")).toContain("xl unpause 7");
    write.mockRestore();
  });
  it("is left alone if it is another by now", async () => {
    xen.add(7, "vm2", { uuid: uuid("b") });
    xen.pauses.set(7, 1);
    await unpauseWithoutGuard(DOMAIN, xen);
    expect(counted()).toEqual([]);
  });
});
