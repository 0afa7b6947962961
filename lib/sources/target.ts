import { resolve } from "node:path";
import { argumentTypeError, XFilterError } from "../errors.ts";

/**
 * A guest's memory image: an ELF64 core (QEMU's `dump-guest-memory`, `virsh dump --memory-only`, `/proc/vmcore`) or a
 * raw file of its RAM. The format is found by content.
 */
export interface VmcoreTarget {
  /** Path of the image, as the file system knows it: no prefix, relative to the working directory. */
  readonly vmcore: string;
}

/** What to attach to. */
export type Target = VmcoreTarget;

/** @internal A target after its form was checked. */
export interface VmcoreSource {
  readonly kind: "vmcore";
  /** Absolute path. */
  readonly path: string;
}

/** Kinds that have a name in the face but no code yet. */
const PLANNED: Record<string, string> = { qemu: "a running QEMU guest", xen: "a Xen domain" };

/**
 * @internal
 * A string is `vmcore:PATH`, or a PATH: anything that starts with `/`, `./` or `../`, or has no `word:` in front.
 * Throws TypeError ERR_INVALID_TARGET, or XFilterError KIND_UNSUPPORTED.
 */
export function parseTarget(target: string | Target): VmcoreSource {
  if (typeof target === "string") return parseText(target);
  if (typeof target !== "object" || target === null) throw invalid(`it is ${describe(target)}`);
  if (target instanceof URL) throw invalid("it is a URL: of a file, give the path (fileURLToPath)");
  if (Array.isArray(target) || ArrayBuffer.isView(target)) throw invalid("it is an array or a buffer");
  const kinds = Object.keys(target);
  const [kind] = kinds;
  if (kinds.length !== 1 || kind === undefined) throw invalid(`it has ${kinds.length} keys`);
  if (Object.hasOwn(PLANNED, kind)) throw unsupported(kind, "");
  if (kind !== "vmcore") throw invalid(`${JSON.stringify(kind)} is no kind of target`);
  return vmcore(target.vmcore, invalid);
}

function parseText(text: string): VmcoreSource {
  if (/^\.{0,2}\//.test(text)) return vmcore(text, invalidText);
  const [, scheme, rest] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(text) ?? [];
  if (scheme === undefined || rest === undefined) return vmcore(text, invalidText);
  const kind = scheme.toLowerCase();
  if (Object.hasOwn(PLANNED, kind)) throw unsupported(kind, `If ${kind}: starts the name of a file, write ./ in front`);
  if (kind !== "vmcore") {
    throw invalidText(
      `${JSON.stringify(scheme)} is no kind of target; if it starts the name of a file, write ${JSON.stringify(`./${text}`)}`,
    );
  }
  return vmcore(rest, invalidText);
}

function vmcore(path: unknown, invalid: (why: string) => TypeError): VmcoreSource {
  if (typeof path !== "string") throw invalid(`the path of vmcore is ${describe(path)}`);
  if (path === "") throw invalid("the path is empty");
  if (path.includes("\0")) throw invalid("the path has a zero byte in it");
  return { kind: "vmcore", path: resolve(path) };
}

/** Of a string, in the words of the command line too. */
function invalidText(why: string): TypeError {
  return argumentTypeError("ERR_INVALID_TARGET", `A target is a path or vmcore:PATH, but ${why}.`);
}

function invalid(why: string): TypeError {
  return argumentTypeError(
    "ERR_INVALID_TARGET",
    `A target is a path, "vmcore:PATH" or { vmcore: "PATH" }, but ${why}.`,
  );
}

function unsupported(kind: string, orElse: string): XFilterError {
  return new XFilterError(
    "KIND_UNSUPPORTED",
    `${kind}: (${PLANNED[kind]}) is not built into this version of xfilter-core yet`,
    `Dump the guest's memory to a file and give its path. ${orElse}`,
  );
}

function describe(value: unknown): string {
  return value === null ? "null" : `of type ${typeof value}`;
}
