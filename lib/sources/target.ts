import { resolve } from "node:path";
import { argumentTypeError } from "../errors.ts";

/**
 * A guest's memory image: an ELF64 core (QEMU's `dump-guest-memory`, `virsh dump --memory-only`, `/proc/vmcore`), a core
 * file of Xen (`xl dump-core`), a LiME dump or a raw file of its RAM. The format is found by content.
 */
export interface VmcoreTarget {
  /** Path of the image, as the file system knows it: no prefix, relative to the working directory. */
  readonly vmcore: string;
}

/** A guest that runs, in a QEMU on this machine; exactly one of the two. */
export interface QemuTarget {
  readonly qemu: {
    /** Path of its QMP socket (`-qmp unix:PATH,server=on,wait=off`). It serves one client: this one, until `close()`. */
    readonly qmp?: string | undefined;
    /** QEMU's process id, where the QMP socket is another's, as with libvirt. */
    readonly pid?: number | undefined;
  };
}

/** A domain of Xen that runs, of x86_64 Linux. This runs in Dom0. */
export interface XenTarget {
  readonly xen: {
    /** Its name, or its id: a number. A guest that reboots has another id and the same name. */
    readonly domain: string | number;
  };
}

/** What to attach to. */
export type Target = VmcoreTarget | QemuTarget | XenTarget;

/** @internal A target after its form was checked. */
export interface VmcoreSource {
  readonly kind: "vmcore";
  /** Absolute path. */
  readonly path: string;
}

/** @internal A target after its form was checked; `path` is absolute. */
export type QemuSource = { readonly kind: "qemu" } & (
  | { readonly qmp: string; readonly pid?: never }
  | { readonly pid: number; readonly qmp?: never }
);

/** @internal A target after its form was checked: a name or an id. */
export interface XenSource {
  readonly kind: "xen";
  readonly domain: string | number;
}

/** @internal */
export type Source = VmcoreSource | QemuSource | XenSource;

/** What the kernel gives out at most (PID_MAX_LIMIT). */
const MAX_PID = 4_194_304;
/** The last below those that Xen keeps for itself (DOMID_FIRST_RESERVED). */
const MAX_DOMAIN = 0x7fef;

/**
 * @internal
 * A string is `vmcore:PATH`, `qemu:PATH`, `qemu:pid:NUMBER`, `xen:NAME`, `xen:NUMBER`, or a PATH: anything that starts with
 * `/`, `./` or `../`, or has no `word:` in front. Throws TypeError ERR_INVALID_TARGET.
 */
export function parseTarget(target: string | Target): Source {
  if (typeof target === "string") return parseText(target);
  if (typeof target !== "object" || target === null) throw invalid(`it is ${describe(target)}`);
  if (target instanceof URL) throw invalid("it is a URL: of a file, give the path (fileURLToPath)");
  if (Array.isArray(target) || ArrayBuffer.isView(target)) throw invalid("it is an array or a buffer");
  const kinds = Object.keys(target);
  const [kind] = kinds;
  if (kinds.length !== 1 || kind === undefined) throw invalid(`it has ${kinds.length} keys`);
  if ("vmcore" in target) return vmcore(target.vmcore, invalid);
  if ("qemu" in target) return qemu(target.qemu);
  if ("xen" in target) return xen(target.xen);
  throw invalid(`${JSON.stringify(kind)} is no kind of target`);
}

/** @internal One name for one target, however it was written. */
export function targetName(target: string): string {
  const source = parseTarget(target);
  if (source.kind === "vmcore") return source.path;
  if (source.kind === "xen") return `xen:${source.domain}`;
  return `qemu:${source.qmp ?? `pid:${source.pid}`}`;
}

/** @internal Whether a target is a guest that runs, and no image. */
export function isOfRunning(target: string): boolean {
  return parseTarget(target).kind !== "vmcore";
}

function parseText(text: string): Source {
  if (/^\.{0,2}\//.test(text)) return vmcore(text, invalidText);
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) return vmcore(text, invalidText);
  const kind = scheme.toLowerCase();
  if (kind === "qemu") return qemuText(rest);
  if (kind === "xen") return xenText(rest);
  if (kind !== "vmcore") {
    throw invalidText(
      `${JSON.stringify(scheme)} is no kind of target; if it starts the name of a file, write ${JSON.stringify(`./${text}`)}`,
    );
  }
  return vmcore(rest, invalidText);
}

function vmcore(path: unknown, invalid: (why: string) => TypeError): VmcoreSource {
  return { kind: "vmcore", path: checkPath(path, "vmcore", invalid) };
}

function qemuText(rest: string): QemuSource {
  const [, pid] = /^pid:(.*)$/i.exec(rest) ?? [];
  if (pid === undefined) return { kind: "qemu", qmp: checkPath(rest, "qemu", invalidText) };
  if (!/^\d{1,10}$/.test(pid)) throw invalidText(`${JSON.stringify(pid)} is no process id`);
  return { kind: "qemu", pid: checkPid(Number(pid), invalidText) };
}

function qemu(target: QemuTarget["qemu"]): QemuSource {
  if (typeof target !== "object" || target === null) throw invalid(`qemu is ${describe(target)}`);
  const unknown = Object.keys(target).find((key) => key !== "qmp" && key !== "pid");
  if (unknown !== undefined) throw invalid(`qemu has the key ${JSON.stringify(unknown)}`);
  const { qmp, pid } = target;
  if ((qmp === undefined) === (pid === undefined)) throw invalid("qemu has not exactly one of qmp and pid");
  if (pid !== undefined) return { kind: "qemu", pid: checkPid(pid, invalid) };
  return { kind: "qemu", qmp: checkPath(qmp, "qmp", invalid) };
}

function xenText(rest: string): XenSource {
  return { kind: "xen", domain: checkDomain(/^\d+$/.test(rest) ? Number(rest) : rest, invalidText) };
}

function xen(target: XenTarget["xen"]): XenSource {
  if (typeof target !== "object" || target === null) throw invalid(`xen is ${describe(target)}`);
  const unknown = Object.keys(target).find((key) => key !== "domain");
  if (unknown !== undefined) throw invalid(`xen has the key ${JSON.stringify(unknown)}`);
  return { kind: "xen", domain: checkDomain(target.domain, invalid) };
}

function checkDomain(domain: unknown, invalid: (why: string) => TypeError): string | number {
  if (domain === 0) throw invalid("domain 0 is the one that this runs in");
  if (typeof domain === "number") {
    if (Number.isInteger(domain) && domain >= 1 && domain <= MAX_DOMAIN) return domain;
    throw invalid(`the domain's id ${domain} is not from 1 to ${MAX_DOMAIN}`);
  }
  if (typeof domain !== "string") throw invalid(`the domain is ${describe(domain)}`);
  if (domain === "") throw invalid("the domain's name is empty");
  if (domain.includes("\0")) throw invalid("the domain's name has a zero byte in it");
  return domain;
}

function checkPid(pid: unknown, invalid: (why: string) => TypeError): number {
  if (typeof pid !== "number") throw invalid(`the pid is ${describe(pid)}`);
  if (!Number.isInteger(pid) || pid < 1 || pid > MAX_PID) throw invalid(`the pid ${pid} is not from 1 to ${MAX_PID}`);
  return pid;
}

function checkPath(path: unknown, name: string, invalid: (why: string) => TypeError): string {
  if (typeof path !== "string") throw invalid(`the path of ${name} is ${describe(path)}`);
  if (path === "") throw invalid("the path is empty");
  if (path.includes("\0")) throw invalid("the path has a zero byte in it");
  return resolve(path);
}

/** Of a string, in the words of the command line too. */
function invalidText(why: string): TypeError {
  return argumentTypeError(
    "ERR_INVALID_TARGET",
    `A target is a path, vmcore:PATH, qemu:PATH, qemu:pid:PID or xen:DOMAIN, but ${why}.`,
  );
}

function invalid(why: string): TypeError {
  return argumentTypeError(
    "ERR_INVALID_TARGET",
    `A target is a path, "vmcore:PATH", "qemu:PATH", "qemu:pid:PID", "xen:DOMAIN", { vmcore: "PATH" }, ` +
      `{ qemu: { qmp: "PATH" } }, { qemu: { pid: PID } } or { xen: { domain: DOMAIN } }, but ${why}.`,
  );
}

function describe(value: unknown): string {
  return value === null ? "null" : `of type ${typeof value}`;
}
