import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { HostLink } from "../../lib/sources/host-links.ts";
import { xenSource } from "../../lib/sources/xen.ts";
import { FakeXen, uuid } from "./fake-xen.ts";

const host = vi.hoisted(() => ({ links: [] as HostLink[] }));
vi.mock("../../lib/sources/host-links.ts", () => ({
  hostLinks: async () => new Map(host.links.map((link) => [link.name, link])),
  uplinks: async () => new Set(["eth0"]),
}));

let xen: FakeXen;
beforeEach(() => {
  xen = new FakeXen();
  xen.store.set("/local/domain/0/name", "Domain-0");
  host.links = [];
});
afterEach(() => vi.useRealTimers());

const source = (domain: string | number, keepMappings?: boolean) =>
  xenSource({ kind: "xen", domain }, xen, keepMappings);

describe("a domain", () => {
  it("is found by its name, or its id", async () => {
    xen.add(3, "other");
    xen.add(7, "vm1", { uuid: uuid("7") });
    const domain = { id: 7, uuid: uuid("7"), keepMappings: true };
    expect(await source("vm1").locate()).toEqual({ domain });
    expect(await source(7).locate()).toEqual({ domain });
    expect(await source(7, false).locate()).toEqual({ domain: { ...domain, keepMappings: false } });
  });
  it("that is not there is not found, and where to look is said", async () => {
    for (const wanted of ["vm1", 7, "7"]) {
      await expect(source(wanted).locate()).rejects.toMatchObject({
        code: "SOURCE_NOT_FOUND",
        advice: expect.stringContaining("xl list"),
      });
    }
  });
  it("is not the one that this runs in", async () => {
    await expect(source("Domain-0").locate()).rejects.toMatchObject({
      code: "SOURCE_NOT_FOUND",
      message: expect.stringContaining("in which this runs"),
    });
  });
  it("whose name two have has to be told by its id", async () => {
    xen.add(3, "vm1");
    xen.add(7, "vm1");
    await expect(source("vm1").locate()).rejects.toMatchObject({
      code: "SOURCE_NOT_FOUND",
      message: expect.stringContaining("3, 7"),
    });
    xen.change(3, { dying: true });
    expect(await source("vm1").locate()).toMatchObject({ domain: { id: 7 } });
  });
  it("that has shut down is gone", async () => {
    xen.add(7, "vm1", { shutdown: "crash" });
    for (const wanted of ["vm1", 7]) {
      await expect(source(wanted).locate()).rejects.toMatchObject({
        code: "SOURCE_GONE",
        message: expect.stringContaining("(crash)"),
      });
    }
  });
  it("is what the addon says of Xen where that cannot be asked", async () => {
    xen.failures.push(Object.assign(new Error("This machine does not run on Xen."), { code: "XEN_UNAVAILABLE" }));
    await expect(source("vm1").locate()).rejects.toMatchObject({ name: "XFilterError", code: "XEN_UNAVAILABLE" });
  });
});

describe("a domain that was located", () => {
  async function located(domain: string | number = "vm1") {
    xen.add(7, "vm1");
    const live = source(domain);
    await live.locate();
    return live;
  }

  it("has not changed while it runs, is paused, or is saved, which takes one question", async () => {
    const live = await located();
    xen.calls.length = 0;
    expect(await live.changed()).toBe(false);
    expect(xen.calls).toEqual(["domain 7"]);
    xen.change(7, { paused: true, shutdown: "suspend" });
    expect(await live.changed()).toBe(false);
  });
  it.each(["poweroff", "crash", "reboot"] as const)(
    "is followed by its name into its next one after %s",
    async (why) => {
      const live = await located();
      xen.change(7, { shutdown: why });
      xen.add(8, "vm1");
      expect(await live.changed()).toBe(true);
      expect(await live.locate()).toMatchObject({ domain: { id: 8 } });
      expect(await live.changed()).toBe(false);
      expect(live.pausable()).toEqual({ domain: { id: 8, uuid: uuid("a") } });
    },
  );
  it("is waited for after a reboot, until its next one is there", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const live = await located();
    xen.change(7, { shutdown: "reboot", dying: true });
    expect(await live.changed()).toBe(true);
    const next = live.locate();
    // A toolstack may take its time to take the last one away, and again for the next.
    await vi.advanceTimersByTimeAsync(20_000);
    xen.remove(7);
    await vi.advanceTimersByTimeAsync(8_000);
    await expect(live.interfaces()).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
    xen.add(8, "vm1");
    await vi.advanceTimersByTimeAsync(200);
    expect(await next).toMatchObject({ domain: { id: 8 } });
  });
  it.each([
    ["it is gone", () => xen.remove(7), 11_000],
    ["it is kept for somebody to look at", () => xen.change(7, { shutdown: "crash" }), 31_000],
  ])("is gone when no next one comes and %s", async (_, end, milliseconds) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const live = await located();
    end();
    expect(await live.changed()).toBe(true);
    const gone = expect(live.locate()).rejects.toMatchObject({ code: "SOURCE_GONE" });
    await vi.advanceTimersByTimeAsync(milliseconds);
    await gone;
  });
  it("that runs on is found again, whatever it is called by now, and not taken for whoever has its name", async () => {
    const live = await located();
    xen.add(7, "renamed");
    xen.add(8, "vm1", { uuid: uuid("b") });
    expect(await live.locate()).toMatchObject({ domain: { id: 7 } });
  });
  it("is no longer waited for when nobody wants it", async () => {
    const live = await located();
    xen.remove(7);
    const reason = new Error("enough");
    const abort = new AbortController();
    const waiting = expect(live.locate(abort.signal)).rejects.toBe(reason);
    setTimeout(() => abort.abort(reason), 10);
    await waiting;
  });
  it.each([
    ["was shut down", { shutdown: "poweroff" }, "(poweroff)"],
    ["was destroyed", { dying: true }, "was destroyed"],
  ] as const)("that %s is gone at once", async (_, state, message) => {
    const live = await located();
    xen.change(7, state);
    await expect(live.changed()).rejects.toMatchObject({
      code: "SOURCE_GONE",
      message: expect.stringContaining(message),
    });
  });
  it("by its id is gone when it ends, whoever has its name or its id then", async () => {
    const live = await located(7);
    xen.change(7, { shutdown: "reboot" });
    xen.add(8, "vm1");
    await expect(live.changed()).rejects.toMatchObject({ code: "SOURCE_GONE" });
    await expect(live.locate()).rejects.toMatchObject({ code: "SOURCE_GONE" });
    xen.add(7, "vm1", { uuid: uuid("b") });
    await expect(live.changed()).rejects.toMatchObject({ code: "SOURCE_GONE" });
    await expect(live.interfaces()).rejects.toMatchObject({ code: "SOURCE_GONE" });
  });
});

describe("a domain's devices", () => {
  const MAC = "00:16:3e:00:00:01";
  const link = (name: string, more: Partial<HostLink> = {}): HostLink => ({
    ...{ name, index: 9, mac: "fe:ff:ff:ff:ff:ff", kind: null, master: null, bus: null, device: null, port: null },
    ...more,
  });
  const vif = (name: string, device: string, more: Partial<HostLink> = {}) =>
    link(name, { bus: "xen-backend", device, ...more });

  /** What libxl writes of a device; `backend` is the domain that serves it. */
  function give(id: number, device: number, { backend = 0, vifname = "" } = {}) {
    const path = `/local/domain/${backend}/backend/vif/${id}/${device}`;
    xen.store.set(`/libxl/${id}/device/vif/${device}/backend`, path);
    xen.store.set(`${path}/mac`, MAC);
    if (vifname) xen.store.set(`${path}/vifname`, vifname);
  }
  const interfaces = async (names?: readonly string[]) => {
    const live = source(7);
    await live.locate();
    return live.interfaces(names);
  };
  beforeEach(() => {
    xen.add(7, "vm1");
    xen.store.set("/libxl/7/dm-version", "qemu_xen");
  });

  it("are what the toolstack made, with the guest's MAC", async () => {
    give(7, 0);
    give(7, 1);
    host.links = [vif("vif7.0", "vif-7-0", { master: "xenbr0" }), vif("vif7.1", "vif-7-1"), vif("vif8.0", "vif-8-0")];
    const common = { index: 9, mac: "fe:ff:ff:ff:ff:ff", guestMac: MAC, open: true };
    expect(await interfaces()).toEqual([
      { ...common, name: "vif7.0", master: "xenbr0" },
      { ...common, name: "vif7.1", master: null },
    ]);
  });
  it("are not what the guest writes of itself", async () => {
    give(7, 0);
    xen.store.set("/local/domain/7/device/vif/0/backend", "/local/domain/0/backend/vif/8/0");
    xen.store.set("/local/domain/7/device/vif/1/backend", "/local/domain/0/backend/vif/8/0");
    host.links = [vif("vif7.0", "vif-7-0"), vif("vif8.0", "vif-8-0")];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0" }]);
  });
  it("are known by the kernel's word, whatever they are called", async () => {
    give(7, 0, { vifname: "web" });
    host.links = [vif("moved", "vif-7-0"), vif("web", "vif-8-0")];
    expect(await interfaces()).toMatchObject([{ name: "moved" }]);
  });
  it("are known by their names where the kernel does not tell", async () => {
    give(7, 0);
    give(7, 1, { vifname: "web" });
    host.links = [link("vif7.0"), link("web")];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0" }, { name: "web" }]);
    host.links = [link("vif7.0"), link("web", { kind: "bridge" })];
    await expect(interfaces()).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  });
  it("are not another's that has the name which they were to get", async () => {
    give(7, 0, { vifname: "web" });
    host.links = [link("web"), link("vif7.0"), link("web-emu", { kind: "tun" }), link("vif7.0-emu", { kind: "tun" })];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0" }, { name: "vif7.0-emu" }]);
    expect(await interfaces(["vif7.0-emu", "web"])).toMatchObject([{ open: true }, { open: false }]);
  });
  it("have the tap of an emulated card among them", async () => {
    give(7, 0);
    host.links = [vif("vif7.0", "vif-7-0"), link("vif7.0-emu", { kind: "tun" })];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0" }, { name: "vif7.0-emu", open: true }]);
  });
  it("have those of the domain that its emulated cards are in among them", async () => {
    give(7, 0);
    give(8, 0);
    xen.store.set("/local/domain/7/image/device-model-domid", "8");
    host.links = [vif("vif7.0", "vif-7-0"), vif("vif8.0", "vif-8-0")];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0" }, { name: "vif8.0" }]);
  });
  it("are found in this domain's half where another toolstack made them", async () => {
    xen.store.delete("/libxl/7/dm-version");
    xen.store.set("/local/domain/0/backend/vif/7/0/mac", MAC);
    host.links = [vif("vif7.0", "vif-7-0")];
    expect(await interfaces()).toMatchObject([{ name: "vif7.0", guestMac: MAC }]);
  });
  it.each([
    ["another domain serves", () => give(7, 0, { backend: 3 }), "domain 3"],
    ["nobody knows who serves", () => xen.store.set("/libxl/7/device/vif/0/backend", "/nowhere"), "what is not known"],
    ["only Dom0's own sockets serve", () => xen.store.set("/libxl/7/device/pvcalls/0/backend", "x"), "pvcalls"],
  ])("are refused where %s", async (_, prepare, message) => {
    prepare();
    await expect(interfaces()).rejects.toMatchObject({
      code: "INTERFACE_UNSEEN",
      message: expect.stringContaining(message),
    });
  });
  it("are not found where there are none, or none is here", async () => {
    await expect(interfaces()).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
    give(7, 0);
    await expect(interfaces()).rejects.toMatchObject({ code: "INTERFACE_NOT_FOUND" });
  });
  it.each([undefined, ["vif7.0"]])("are nobody's when it ends while they are looked for", async (names) => {
    give(7, 0);
    host.links = [vif("vif7.0", "vif-7-0")];
    const live = source("vm1");
    await live.locate();
    const read = xen.xenstoreRead;
    xen.xenstoreRead = (path) => {
      xen.change(7, { uuid: uuid("b") });
      return read(path);
    };
    await expect(live.interfaces(names)).rejects.toMatchObject({
      code: "INTERFACE_NOT_FOUND",
      message: expect.stringContaining("is gone"),
    });
  });
  it("that are named are its own for certain, or may be; another domain's are not", async () => {
    give(7, 0);
    host.links = [vif("vif7.0", "vif-7-0"), link("tap1", { kind: "tun" }), vif("vif8.0", "vif-8-0"), link("vif9.0")];
    expect(await interfaces(["vif7.0", "tap1"])).toMatchObject([{ open: true }, { open: false }]);
    for (const name of ["vif8.0", "vif9.0"]) {
      await expect(interfaces([name])).rejects.toMatchObject({ code: "INTERFACE_FOREIGN" });
    }
  });
  it("may be named where another domain serves one of them", async () => {
    give(7, 0, { backend: 3 });
    give(7, 1);
    host.links = [vif("vif7.1", "vif-7-1")];
    expect(await interfaces(["vif7.1"])).toMatchObject([{ name: "vif7.1", open: true }]);
  });
});
