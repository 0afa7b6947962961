import { XFilterError } from "../errors.ts";
import type { NativeRamRegion } from "../native.ts";
import type { AbortSignalLike } from "../options.ts";
import { parseMemoryTree, type RamRange } from "./mtree.ts";
import { connectQmp, type Qmp, type QmpEvent } from "./qmp.ts";

/** After these, what is in memory is a kernel that ran. Where QEMU outlives its guest, RESET follows SHUTDOWN. */
const ENDED: readonly string[] = ["RESET", "SHUTDOWN"];

/**
 * After these, RAM may lie elsewhere. A device was unplugged, whichever; a virtio-mem device gave or took some of its
 * memory; the guest took a DIMM in or let go of it. The last one a guest can raise as often as it likes.
 */
const REMAPPED: readonly string[] = ["DEVICE_DELETED", "MEMORY_DEVICE_SIZE_CHANGE", "ACPI_DEVICE_OST"];

/**
 * @internal A guest's monitor, connected to when something is asked of it, and again when the connection has ended. It hears
 * of what makes the guest another than the one that was located.
 */
export class Monitor {
  readonly #path: string;
  readonly #listener: (event: QmpEvent) => void;
  #qmp: Qmp | undefined;
  #ended = false;
  /** How often RAM may have come to lie elsewhere. */
  #remaps = 0;
  #located: { readonly remaps: number; readonly regions: readonly NativeRamRegion[] } | undefined;

  constructor(path: string, listener: (event: QmpEvent) => void = () => {}) {
    this.#path = path;
    this.#listener = listener;
  }

  /** Rejects as `connectQmp` does. */
  async connect(signal?: AbortSignalLike): Promise<Qmp> {
    if (this.#qmp?.open) return this.#qmp;
    const qmp = await connectQmp(this.#path, { onEvent: (event) => this.#hear(event), signal });
    this.#qmp = qmp;
    // Nobody listened since the last connection.
    this.#remaps++;
    return qmp;
  }

  /** Where the guest's RAM lies now. Rejects with RAM_UNKNOWN, QMP_REFUSED, and as `connect` does. */
  async locate(signal?: AbortSignalLike): Promise<NativeRamRegion[]> {
    const qmp = await this.connect(signal);
    const remaps = this.#remaps;
    this.#ended = false;
    const regions = await ramRegions(qmp, signal);
    this.#located = { remaps, regions };
    return regions;
  }

  /** Whether the guest that was located has ended, or has other RAM. QEMU is asked only after it told of something. */
  async changed(): Promise<boolean> {
    const located = this.#located;
    if (!located) return false;
    const remaps = this.#remaps;
    if (this.#ended || remaps === located.remaps) return this.#ended;
    // Where it cannot be asked, attaching again says why.
    const regions = this.#qmp?.open ? await ramRegions(this.#qmp).catch(() => []) : [];
    if (!isSameMap(located.regions, regions)) return true;
    this.#located = { remaps, regions };
    return this.#ended;
  }

  /** What QEMU says of its networks (`info network`); undefined where it is not connected to: another client may hold it. */
  async networks(signal?: AbortSignalLike): Promise<string | undefined> {
    return this.#qmp?.open ? ask(this.#qmp, "info network", signal) : undefined;
  }

  close(): void {
    this.#qmp?.close();
    this.#qmp = undefined;
    this.#located = undefined;
  }

  #hear(event: QmpEvent): void {
    if (ENDED.includes(event.name)) this.#ended = true;
    if (REMAPPED.includes(event.name)) this.#remaps++;
    this.#listener(event);
  }
}

function isSameMap(before: readonly NativeRamRegion[], now: readonly NativeRamRegion[]): boolean {
  const isSame = (a: NativeRamRegion, b: NativeRamRegion | undefined) =>
    a.start === b?.start && a.size === b.size && a.host === b.host;
  return before.length === now.length && before.every((region, i) => isSame(region, now[i]));
}

/** Where the guest's RAM lies, and in QEMU's address space. */
async function ramRegions(qmp: Qmp, signal?: AbortSignalLike): Promise<NativeRamRegion[]> {
  const ranges = parseMemoryTree(await ask(qmp, "info mtree -f", signal));
  if (ranges.length === 0) throw unknownRam("its memory map (`info mtree -f`) shows no RAM");
  return Promise.all(
    ranges.map(async ({ start, size }: RamRange) => {
      const text = await ask(qmp, `gpa2hva 0x${start.toString(16)}`, signal);
      const [, host] = /^Host virtual address for 0x[0-9a-f]+ \(.*\) is 0x([0-9a-f]{1,16})\s*$/.exec(text) ?? [];
      if (host === undefined) throw unknownRam(`it says of RAM at 0x${start.toString(16)}: ${text.slice(0, 200)}`);
      return { start, size, host: BigInt(`0x${host}`) };
    }),
  );
}

/** What the human monitor prints; QMP has no command for these facts. */
async function ask(qmp: Qmp, commandLine: string, signal: AbortSignalLike | undefined): Promise<string> {
  const text = await qmp.execute("human-monitor-command", { "command-line": commandLine }, signal);
  return typeof text === "string" ? text : "";
}

function unknownRam(what: string): XFilterError {
  return new XFilterError("RAM_UNKNOWN", `QEMU does not tell where the guest's RAM lies: ${what}`, "Try qemu:pid:PID");
}
