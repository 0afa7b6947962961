import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parseTarget, targetName } from "../../lib/sources/target.ts";

describe("a target", () => {
  it("has one name, however it is written", () => {
    const here = process.cwd();
    expect(["qemu:vm.qmp", `QEMU:${here}/vm.qmp`].map(targetName)).toEqual(Array(2).fill(`qemu:${here}/vm.qmp`));
    expect(["memory.elf", "./memory.elf", `vmcore:${here}/memory.elf`].map(targetName)).toEqual(
      Array(3).fill(`${here}/memory.elf`),
    );
    expect(targetName("qemu:pid:007")).toBe("qemu:pid:7");
    expect(["xen:vm1", "Xen:vm1"].map(targetName)).toEqual(Array(2).fill("xen:vm1"));
    expect(targetName("xen:007")).toBe("xen:7");
  });
  it.each([
    ["memory.elf", "memory.elf"],
    ["vmcore:memory.elf", "memory.elf"],
    ["VMCORE:memory.elf", "memory.elf"],
    ["vmcore:qemu:disk", "qemu:disk"],
    ["/dumps/memory.elf", "/dumps/memory.elf"],
    ["./qemu:disk", "./qemu:disk"],
    ["../vmcore:x", "../vmcore:x"],
    ["/a:b", "/a:b"],
    ["2024-01-01T00:00", "2024-01-01T00:00"],
    ["dumps/a:b", "dumps/a:b"],
  ])("%s is the file %s", (text, path) => {
    expect(parseTarget(text)).toEqual({ kind: "vmcore", path: resolve(path) });
  });
  it("may be an object, whose path is taken as it is", () => {
    expect(parseTarget({ vmcore: "qemu:disk" })).toEqual({ kind: "vmcore", path: resolve("qemu:disk") });
  });
  it.each([
    ["xen:vm1", "vm1"],
    ["XEN:Web Server", "Web Server"],
    ["xen:7", 7],
    ["xen:007", 7],
    [{ xen: { domain: 7 } }, 7],
    [{ xen: { domain: "7" } }, "7"],
    [{ xen: { domain: "vm1" } }, "vm1"],
  ])("%j is the domain %j", (target, domain) => {
    expect(parseTarget(target)).toEqual({ kind: "xen", domain });
  });
  it.each([
    ["qemu:/run/vm1.qmp", { qmp: "/run/vm1.qmp" }],
    ["QEMU:vm1.qmp", { qmp: resolve("vm1.qmp") }],
    ["qemu:./pid:7", { qmp: resolve("pid:7") }],
    ["qemu:pid:1234", { pid: 1234 }],
    [{ qemu: { qmp: "vm1.qmp" } }, { qmp: resolve("vm1.qmp") }],
    [{ qemu: { pid: 1234 } }, { pid: 1234 }],
    [{ qemu: { pid: 1234, qmp: undefined } }, { pid: 1234 }],
  ])("%j is the running guest %j", (target, source) => {
    expect(parseTarget(target)).toEqual({ kind: "qemu", ...source });
  });
  const wrong: unknown[] = [
    ...["", "vmcore:", "file:/x", "vmcore:a\0b", 7, null, undefined, {}, { vmcore: 7 }, { vmcore: "" }, { disk: "x" }],
    ...[{ vmcore: "x", qemu: {} }, { constructor: 1 }, []],
    ...["qemu:", "qemu:pid:", "qemu:pid:vm1", "qemu:pid:0", "qemu:pid:-1", "qemu:pid:4194305", "qemu:a\0b"],
    ...[{ qemu: {} }, { qemu: null }, { qemu: "/run/vm1.qmp" }, { qemu: { qmp: "" } }, { qemu: { qmp: 7 } }],
    ...[
      { qemu: { pid: "7" } },
      { qemu: { pid: 1.5 } },
      { qemu: { qmp: "x", pid: 7 } },
      { qemu: { qmp: "x", port: 7 } },
    ],
    ...["xen:", "xen:0", "xen:32752", "xen:a\0b", { xen: {} }, { xen: "vm1" }, { xen: null }, { xen: { domain: "" } }],
    ...[{ xen: { domain: 0 } }, { xen: { domain: -1 } }, { xen: { domain: 1.5 } }, { xen: { domain: Number.NaN } }],
    ...[{ xen: { domain: true } }, { xen: { domain: "vm1", id: 7 } }],
    ...[new URL("file:///memory.elf"), Buffer.from("memory.elf")],
  ];
  it.each(wrong.map((target) => ({ target })))("$target is none", ({ target }) => {
    const error = expect.objectContaining({ name: "TypeError", code: "ERR_INVALID_TARGET" });
    expect(() => parseTarget(target as never)).toThrow(error);
  });
  it.each(["disk:x", "", "vmcore:"])("%j is refused without words of the library", (text) => {
    expect(() => parseTarget(text)).toThrow(
      /^A target is a path, vmcore:PATH, qemu:PATH, qemu:pid:PID or xen:DOMAIN, but [^{]*\.$/,
    );
  });
  it("that is a URL is told what is wanted", () => {
    expect(() => parseTarget(new URL("file:///memory.elf") as never)).toThrow("fileURLToPath");
  });
  it("that was meant as a file's name is told how to be written", () => {
    expect(() => parseTarget("backup:today")).toThrow('"./backup:today"');
  });
});
