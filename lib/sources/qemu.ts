import { XFilterError } from "../errors.ts";
import type { AbortSignalLike } from "../options.ts";
import { qemuInterfaces } from "./interfaces.ts";
import type { LiveSource } from "./live-source.ts";
import { Monitor } from "./monitor.ts";
import { namedInterfaces, qemuHoldings } from "./named-interfaces.ts";
import type { Qmp } from "./qmp.ts";
import type { QemuSource } from "./target.ts";

/** @internal A QEMU that runs. */
export function qemuSource({ qmp, pid }: QemuSource): LiveSource {
  return qmp === undefined ? byProcess(pid) : byMonitor(qmp);
}

function byProcess(pid: number): LiveSource {
  return {
    locate: async () => ({ process: { pid, regions: [] } }),
    changed: async () => false,
    interfaces: async (names) => (names ? namedInterfaces(names, await qemuHoldings(pid)) : qemuInterfaces(pid)),
    pausable() {
      throw new XFilterError(
        "PAUSE_UNAVAILABLE",
        "a guest that is given by its process id cannot be paused",
        "Give its QMP socket (qemu:PATH), or walk without a pause",
      );
    },
    moves: false,
    close: () => {},
  };
}

/** The monitor stays connected as long as the guest is attached: it serves one client, and says what happens to the guest. */
function byMonitor(path: string): LiveSource {
  const monitor = new Monitor(path);
  let pid = 0;
  // When it is left to the guard, it is not asked any more.
  let networks: string | undefined;
  return {
    /** Rejects as `Monitor.locate` does, and with PROCESS_UNKNOWN, GUEST_CONFIDENTIAL, GUEST_MIGRATING. */
    async locate(signal) {
      const qmp = await monitor.connect(signal);
      await refuseUnreadable(qmp, signal);
      const regions = await monitor.locate(signal);
      if (qmp.peer === 0) {
        throw new XFilterError(
          "PROCESS_UNKNOWN",
          `the process that listens at ${path} is not in this pid namespace`,
          "In a container, share the host's pid namespace; else give the process id (qemu:pid:PID)",
        );
      }
      pid = qmp.peer;
      networks = await monitor.networks(signal);
      return { process: { pid, regions } };
    },
    changed: () => monitor.changed(),
    async interfaces(names) {
      if (names) return namedInterfaces(names, await qemuHoldings(pid));
      networks = (await monitor.networks()) ?? networks;
      return qemuInterfaces(pid, networks);
    },
    pausable: () => ({ qmp: path }),
    moves: false,
    close: () => monitor.close(),
  };
}

/** Guests whose memory does not lie in QEMU, or not readable. */
async function refuseUnreadable(qmp: Qmp, signal: AbortSignalLike | undefined): Promise<void> {
  const ask = (command: string, args?: Record<string, unknown>) => askIfKnown(() => qmp.execute(command, args, signal));
  const [confidential, sev, migration] = await Promise.all([
    // The path of an object, for all of AMD's, Intel's and IBM's kinds; empty without one. Since QEMU 6.0.
    ask("qom-get", { path: "/machine", property: "confidential-guest-support" }),
    ask("query-sev"),
    ask("query-migrate"),
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
async function askIfKnown(ask: () => Promise<unknown>): Promise<unknown> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof XFilterError && error.code === "QMP_REFUSED") return undefined;
    throw error;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
