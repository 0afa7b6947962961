const CODES = [
  "SOURCE_NOT_FOUND",
  "SOURCE_PERMISSION",
  "SOURCE_FORMAT",
  "SOURCE_TRUNCATED",
  "SOURCE_IO",
  "SOURCE_GONE",
  "XEN_UNAVAILABLE",
  "PROCESS_UNKNOWN",
  "QMP_TIMEOUT",
  "QMP_INVALID",
  "QMP_CLOSED",
  "QMP_REFUSED",
  "RAM_UNKNOWN",
  "GUEST_CHANGED",
  "GUEST_CONFIDENTIAL",
  "GUEST_MIGRATING",
  "PAUSE_BUDGET",
  "PAUSE_UNAVAILABLE",
  "GUARD_GONE",
  "KIND_UNSUPPORTED",
  "KERNEL_NOT_FOUND",
  "SYMBOLS_NOT_FOUND",
  "TYPES_NOT_FOUND",
  "TYPES_INVALID",
  "SYMBOLS_INVALID",
  "PROFILE_MISMATCH",
  "TOOL_NOT_FOUND",
  "LAYOUT_INCOMPLETE",
  "REGISTERS_NOT_FOUND",
  "INTERFACE_NOT_FOUND",
  "INTERFACE_UNSEEN",
  "INTERFACE_UNKNOWN",
  "INTERFACE_FOREIGN",
  "ATTACH_BUDGET",
  "WALK_BUDGET",
  "SNAPSHOT_LATE",
  "BACKEND_NOT_FOUND",
  "BACKEND_PERMISSION",
  "BACKEND_UNSUPPORTED",
  "BACKEND_FAILED",
  "STATE_IO",
  "FILTER_RUNS",
  "INTERFACE_CHANGED",
  "OUT_OF_MEMORY",
  "ABORTED",
  "CLOSED",
  "ADDON_NOT_LOADED",
  "INTERNAL",
] as const;

/**
 * What went wrong, stable under SemVer: test this, not `instanceof` and not the message.
 *
 * | code | meaning |
 * | --- | --- |
 * | `SOURCE_NOT_FOUND` | there is no file at the target's path, no listening socket, no such process or domain, or more than one of that name |
 * | `SOURCE_PERMISSION` | the operating system, or Xen, refuses to open it, or to look into the process |
 * | `SOURCE_FORMAT` | it is not a memory image of a known format |
 * | `SOURCE_TRUNCATED` | the image ends before its own headers say so, or shrank while it was read |
 * | `SOURCE_IO` | reading it failed |
 * | `SOURCE_GONE` | the process that ran the guest has ended, or its domain |
 * | `XEN_UNAVAILABLE` | this is not Xen's Dom0, or its libraries are not installed or lack something |
 * | `PROCESS_UNKNOWN` | which process runs the guest could not be told, or it is not the one that was named |
 * | `QMP_TIMEOUT` | QEMU's monitor did not answer in time: mostly, another client holds it |
 * | `QMP_INVALID` | what answers is no QMP, or sends without end |
 * | `QMP_CLOSED` | the connection to QEMU's monitor ended |
 * | `QMP_REFUSED` | QEMU answered a command that is needed with an error |
 * | `RAM_UNKNOWN` | where the guest's RAM lies could not be told |
 * | `GUEST_CHANGED` | the guest got another kernel or other RAM, again and again while it was attached to anew; or none that runs, for a minute |
 * | `GUEST_CONFIDENTIAL` | the guest's memory is encrypted, or kept from the host |
 * | `GUEST_MIGRATING` | part of the guest's memory is still on another machine |
 * | `PAUSE_BUDGET` | the guest was resumed before the walk was done, because `pauseBudgetMs` was over |
 * | `PAUSE_UNAVAILABLE` | a guest that was given by its QEMU's process id cannot be paused: only its QMP socket gives that power |
 * | `GUARD_GONE` | the process that resumes paused guests was killed |
 * | `KIND_UNSUPPORTED` | a guest that is made up in memory (`xfilter-core/testing`) has not what was asked for |
 * | `KERNEL_NOT_FOUND` | no Linux kernel was found in the image |
 * | `SYMBOLS_NOT_FOUND` | the kernel's symbol table (kallsyms) was not found, and none was given |
 * | `TYPES_NOT_FOUND` | the kernel carries no type information (BTF), and none was given |
 * | `TYPES_INVALID` | the types that were given or found are broken, or do not fit the guest's kernel |
 * | `SYMBOLS_INVALID` | the file that was given for its symbols is broken or has none |
 * | `PROFILE_MISMATCH` | the types, symbols or profile that were given are of another kernel |
 * | `TOOL_NOT_FOUND` | a program or package that is needed for this is not installed: `pahole`, `ip`, `prom-client` |
 * | `LAYOUT_INCOMPLETE` | a structure member without which nothing can be read is missing from the types |
 * | `REGISTERS_NOT_FOUND` | the image, or QEMU, does not tell the registers of the guest's CPUs |
 * | `INTERFACE_NOT_FOUND` | a network device of the guest is not on this machine, or not in this network namespace, or there is none |
 * | `INTERFACE_UNSEEN` | the guest's packets, or some of them, go by what the host's netfilter never sees |
 * | `INTERFACE_UNKNOWN` | the target does not tell by which network devices its guest is connected |
 * | `INTERFACE_FOREIGN` | the device that was named is the machine's own, or another guest's |
 * | `ATTACH_BUDGET` | the kernel was not found within `attachBudgetMs` |
 * | `WALK_BUDGET` | the walk took longer than `walkBudgetMs` |
 * | `SNAPSHOT_LATE` | a filter has waited for ten seconds for its guest to be read, and waits on |
 * | `BACKEND_NOT_FOUND` | the firewall's program (`nft`, `iptables-restore`) is not installed |
 * | `BACKEND_PERMISSION` | this process may not change the firewall |
 * | `BACKEND_UNSUPPORTED` | the kernel or the firewall's program lacks what the backend, or a rule, needs |
 * | `BACKEND_FAILED` | the firewall refused a change, or did not answer, or a backend of somebody else's threw what has none of these codes |
 * | `STATE_IO` | the directory in which a filter keeps its state cannot be made, is not safe, or cannot be written |
 * | `FILTER_RUNS` | another filter has this guest, or one of its devices |
 * | `INTERFACE_CHANGED` | the guest's device is gone, or another one has its name |
 * | `OUT_OF_MEMORY` | the memory or the threads that this process may have did not suffice |
 * | `ABORTED` | native work was cancelled (an abort by a signal rejects with `signal.reason` instead) |
 * | `CLOSED` | the guest was closed, or the backend is not open |
 * | `ADDON_NOT_LOADED` | the native part could not be found or loaded on this machine |
 * | `INTERNAL` | a fault of xfilter-core itself: please report it |
 */
export type XFilterErrorCode = (typeof CODES)[number];

/** Everything that goes wrong with a guest, its image or the addon. Bad arguments are `TypeError` and `RangeError`. */
export class XFilterError extends Error {
  override readonly name = "XFilterError";
  /** What went wrong, stable under SemVer. */
  readonly code: XFilterErrorCode;
  /** What happened, a sentence or two: `message` without the advice. */
  readonly what: string;
  /** What to do about it, one or two sentences. Also the end of `message`. */
  readonly advice: string;

  /** @internal */
  constructor(code: XFilterErrorCode, what: string, advice: string, options?: ErrorOptions) {
    super(`${sentence(what)} ${sentence(advice)}`.trim(), options);
    this.code = code;
    this.what = sentence(what);
    this.advice = sentence(advice);
  }
}

/** Code of the `TypeError` or `RangeError` that a bad argument is answered with. */
export type ArgumentErrorCode = "ERR_INVALID_TARGET" | "ERR_INVALID_OPTION" | "ERR_INVALID_RULE";

/** @internal A `TypeError` (a value of the wrong kind) with a code. */
export function argumentTypeError(code: ArgumentErrorCode, message: string): TypeError & { code: ArgumentErrorCode } {
  return Object.assign(new TypeError(message), { code });
}

/** @internal A `RangeError` (the right kind, a value that cannot be) with a code. */
export function argumentRangeError(code: ArgumentErrorCode, message: string): RangeError & { code: ArgumentErrorCode } {
  return Object.assign(new RangeError(message), { code });
}

/** @internal An option of the wrong type. */
export function invalidOption(why: string): TypeError {
  return argumentTypeError("ERR_INVALID_OPTION", `Bad option: ${why}.`);
}

/** @internal What the addon threw or rejected with, as the error that users see. */
export function toXFilterError(cause: unknown): XFilterError {
  if (cause instanceof XFilterError) return cause;
  // An XFilterError of the other class, of ES modules and CommonJS, has the advice in its message, too; the addon's has not.
  const { code, what, message, advice } = (cause ?? {}) as { readonly [part: string]: unknown };
  const happened = [what, message].find((text) => typeof text === "string" && text !== "") ?? cause;
  if (isXFilterErrorCode(code)) {
    return new XFilterError(code, String(happened), typeof advice === "string" ? advice : "", { cause });
  }
  return new XFilterError("INTERNAL", String(happened), "This is a fault of xfilter-core: please report it", { cause });
}

/** @internal */
export function isXFilterErrorCode(code: unknown): code is XFilterErrorCode {
  return (CODES as readonly unknown[]).includes(code);
}

/** Upper case in front and a full stop at the end, whoever wrote it. */
function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === "") return "";
  // A path or an option in front keeps its spelling.
  const start = /^[a-z]+[ ,]/.test(trimmed) ? trimmed[0]!.toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
