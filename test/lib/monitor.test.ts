import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Monitor } from "../../lib/sources/monitor.ts";
import { FakeQmp } from "./fake-qmp.ts";

let qmp: FakeQmp;
let monitor: Monitor;
let heard: string[];
beforeEach(async () => {
  heard = [];
  qmp = await FakeQmp.listen();
  monitor = new Monitor(qmp.path, ({ name }) => heard.push(name));
});
afterEach(() => {
  monitor.close();
  qmp.close();
});

async function told(event: string): Promise<void> {
  const before = heard.length;
  qmp.tell(event);
  await expect.poll(() => heard.slice(before)).toContain(event);
}

const asked = () => qmp.log.filter((command) => command === "human-monitor-command").length;

describe("a guest's monitor", () => {
  it("is not asked again of a guest that nothing happened to", async () => {
    expect(await monitor.locate()).toEqual([{ start: 0n, size: 96n << 20n, host: 0x1000n }]);
    const before = asked();
    await told("RTC_CHANGE");
    expect(await monitor.changed()).toBe(false);
    expect(asked()).toBe(before);
  });
  it.each(["RESET", "SHUTDOWN"])(
    "tells by %s of a guest that is not what it was, until it is located again",
    async (event) => {
      await monitor.locate();
      await told(event);
      expect([await monitor.changed(), await monitor.changed()]).toEqual([true, true]);
      await monitor.locate();
      expect(await monitor.changed()).toBe(false);
    },
  );
  it.each(["DEVICE_DELETED", "MEMORY_DEVICE_SIZE_CHANGE", "ACPI_DEVICE_OST"])(
    "is asked once after %s whether RAM lies elsewhere",
    async (event) => {
      await monitor.locate();
      await told(event);
      expect(await monitor.changed()).toBe(false);
      const before = asked();
      expect(await monitor.changed()).toBe(false);
      expect(asked()).toBe(before);
      qmp.ramBytes *= 2;
      await told(event);
      expect(await monitor.changed()).toBe(true);
      await monitor.locate();
      expect(await monitor.changed()).toBe(false);
    },
  );
  it("is not missed until it told of something", async () => {
    await monitor.locate();
    const first = await monitor.connect();
    qmp.cut();
    await expect.poll(() => first.open).toBe(false);
    expect(await monitor.changed()).toBe(false);
    const second = await monitor.connect();
    const before = asked();
    expect(await monitor.changed()).toBe(false);
    // What happened in between it could not tell.
    expect(asked()).toBeGreaterThan(before);
    await told("DEVICE_DELETED");
    qmp.close();
    await expect.poll(() => second.open).toBe(false);
    expect(await monitor.changed()).toBe(true);
  });
});
