import { beforeEach, describe, expect, it, vi } from "vitest";
import { introspect } from "../../lib/introspect.ts";
import type { NativeAttachOptions, NativeGuest, NativeJob } from "../../lib/native.ts";
import { columns } from "../../lib/testing/columns.ts";
import { KERNEL } from "../../lib/testing/kernel.ts";
import { FakeXen, uuid } from "./fake-xen.ts";

const native = vi.hoisted(() => ({ addon: {} as object }));
vi.mock("../../lib/native.ts", () => ({ loadNative: () => native.addon }));

let xen: FakeXen;
let attached: NativeAttachOptions[];
/** What the next attaches reject with. */
let failures: string[];
/** Releases of the guests that were let go of. */
let closed: string[];

beforeEach(() => {
  xen = new FakeXen();
  xen.add(7, "vm1");
  [attached, failures, closed] = [[], [], []];
  const job = <T>(work: () => T): NativeJob<T> => ({ promise: (async () => work())(), cancel() {} });
  const fail = (code: string): never => {
    throw Object.assign(new Error("no"), { code });
  };
  const guest = (release: string): NativeGuest => ({
    kernel: { ...KERNEL, format: "xen", release },
    profile: "{}",
    // As the addon does: what has ended is read no more.
    walk: () => job(() => (xen.domains.get(Number(release))?.shutdown ? fail("SOURCE_GONE") : columns([]))),
    cpus: () => job(() => []),
    watch: () => fail("INTERNAL"),
    requireIntact: () => {},
    close: () => void closed.push(release),
  });
  native.addon = {
    attach: (options: NativeAttachOptions) =>
      job(() => {
        attached.push(options);
        const code = failures.shift();
        return code ? fail(code) : guest(String(options.domain!.id));
      }),
    xenDomain: xen.xenDomain,
    xenstoreRead: xen.xenstoreRead,
    xenstoreList: xen.xenstoreList,
  };
});

describe("introspect of a domain", () => {
  it("hands the domain to the addon, which keeps its pages mapped or not", async () => {
    const guest = await introspect("xen:vm1");
    await guest.snapshot();
    await introspect({ xen: { domain: 7 } }, { keepMappings: false });
    const domain = { id: 7, uuid: uuid("a"), keepMappings: true };
    expect(attached).toMatchObject([
      { domain, running: false },
      { domain: { ...domain, keepMappings: false }, running: false },
    ]);
  });
  it("follows it into the domain that it has after a reboot, which has to be seen to run", async () => {
    const guest = await introspect("xen:vm1");
    xen.change(7, { shutdown: "reboot" });
    xen.add(8, "vm1");
    failures = ["KERNEL_NOT_FOUND", "SOURCE_NOT_FOUND", "SOURCE_GONE"];
    await guest.snapshot();
    expect(guest.kernel.release).toBe("8");
    expect(attached.at(-1)).toMatchObject({ domain: { id: 8 }, running: true });
    expect(closed).toEqual(["7"]);
    await guest.close();
  });
  it("follows it, too, when it reboots in the middle of a walk", async () => {
    const guest = await introspect("xen:vm1");
    const ask = xen.xenDomain;
    native.addon = Object.assign(native.addon, {
      xenDomain: (id: number) => {
        const answer = ask(id);
        // It ends after it was asked for, and before it is read.
        if (id === 7) xen.change(7, { shutdown: "reboot" });
        xen.add(8, "vm1");
        return answer;
      },
    });
    await guest.snapshot();
    expect(guest.kernel.release).toBe("8");
  });
  it("is over when it is shut down, and says why", async () => {
    const guest = await introspect("xen:vm1");
    xen.change(7, { shutdown: "poweroff" });
    await expect(guest.snapshot()).rejects.toMatchObject({
      code: "SOURCE_GONE",
      message: expect.stringContaining("(poweroff)"),
    });
  });
  it("is refused where there is no Xen", async () => {
    xen.failures.push(Object.assign(new Error("no Xen"), { code: "XEN_UNAVAILABLE" }));
    await expect(introspect("xen:7")).rejects.toMatchObject({ code: "XEN_UNAVAILABLE" });
  });
});
