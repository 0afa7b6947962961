import { XFilterError } from "../errors.ts";
import type { NativeProcess, NativeRamRegion } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";
import { parseMemoryTree, type RamRange } from "./mtree.ts";
import { connectQmp, type Qmp } from "./qmp.ts";
import type { QemuSource } from "./target.ts";

/** @internal A QEMU that runs, of which a guest is attached to, and again when it changes. */
export interface LiveSource {
  /** Where the guest's RAM lies now. */
  locate(signal?: AbortSignalLike): Promise<NativeProcess>;
  close(): void;
}

/** @internal Nothing is asked before `locate`. */
export function liveSource({ qmp, pid }: QemuSource): LiveSource {
  return qmp === undefined ? byProcess(pid) : new MonitorSource(qmp);
}

function byProcess(pid: number): LiveSource {
  return { locate: async () => ({ pid, regions: [] }), close: () => {} };
}

/** The monitor stays connected as long as the guest is attached: it serves one client, and says what happens to the guest. */
class MonitorSource implements LiveSource {
  readonly #path: string;
  #qmp: Qmp | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Rejects as `connectQmp` does, and with PROCESS_UNKNOWN, RAM_UNKNOWN, GUEST_CONFIDENTIAL, GUEST_MIGRATING,
   * QMP_REFUSED.
   */
  async locate(signal?: AbortSignalLike): Promise<NativeProcess> {
    if (!this.#qmp?.open) this.#qmp = await connectQmp(this.#path, undefined, signal);
    const qmp = this.#qmp;
    await refuseUnreadable(qmp);
    const regions = await ramRegions(qmp);
    if (qmp.peer === 0) {
      throw new XFilterError(
        "PROCESS_UNKNOWN",
        `the process that listens at ${this.#path} is not in this pid namespace`,
        "In a container, share the host's pid namespace; else give the process id (qemu:pid:PID)",
      );
    }
    return { pid: qmp.peer, regions };
  }

  close(): void {
    this.#qmp?.close();
  }
}

/** Where the guest's RAM lies, and in QEMU's address space. */
async function ramRegions(qmp: Qmp): Promise<NativeRamRegion[]> {
  const ranges = parseMemoryTree(await monitor(qmp, "info mtree -f"));
  if (ranges.length === 0) throw unknownRam("its memory map (`info mtree -f`) shows no RAM");
  return Promise.all(
    ranges.map(async ({ start, size }: RamRange) => {
      const text = await monitor(qmp, `gpa2hva 0x${start.toString(16)}`);
      const [, host] = /^Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]{1,16})\s*$/.exec(text) ?? [];
      if (host === undefined) throw unknownRam(`it says of RAM at 0x${start.toString(16)}: ${text.slice(0, 200)}`);
      return { start, size, host: BigInt(`0x${host}`) };
    }),
  );
}

/** What the human monitor prints; QMP has no command for these facts. */
async function monitor(qmp: Qmp, commandLine: string): Promise<string> {
  const text = await qmp.execute("human-monitor-command", { "command-line": commandLine });
  return typeof text === "string" ? text : "";
}

function unknownRam(what: string): XFilterError {
  return new XFilterError("RAM_UNKNOWN", `QEMU does not tell where the guest's RAM lies: ${what}`, "Try qemu:pid:PID");
}

/** Guests whose memory does not lie in QEMU, or not readable. */
async function refuseUnreadable(qmp: Qmp): Promise<void> {
  const [confidential, sev, migration] = await Promise.all([
    // The path of an object, for all of AMD's, Intel's and IBM's kinds; empty without one. Since QEMU 6.0.
    askIfKnown(qmp, "qom-get", { path: "/machine", property: "confidential-guest-support" }),
    askIfKnown(qmp, "query-sev"),
    askIfKnown(qmp, "query-migrate"),
  ]);
  if ((typeof confidential === "string" && confidential !== "") || field(sev, "enabled") === true) {
    throw new XFilterError(
      "GUEST_CONFIDENTIAL",
      "the guest's memory is encrypted or kept from the host (SEV, TDX or their like)",
      "Such a guest cannot be read from outside; that is what it is for",
    );
  }
  const status = field(migration, "status");
  if (typeof status === "string" && status.startsWith("postcopy")) {
    throw new XFilterError(
      "GUEST_MIGRATING",
      `the guest is being migrated (${status}): some of its memory is still on another machine`,
      "Attach again when the migration is over",
    );
  }
}

/** Undefined where this QEMU has no such command, or nothing to say. */
async function askIfKnown(qmp: Qmp, command: string, args?: Record<string, unknown>): Promise<unknown> {
  try {
    return await qmp.execute(command, args);
  } catch (error) {
    if (error instanceof XFilterError && error.code === "QMP_REFUSED") return undefined;
    throw error;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
