import { XFilterError } from "../../errors.ts";
import type { Plan } from "../../rules/pattern.ts";
import type { Direction } from "../../rules/rule.ts";
import type { BackendCapabilities, GuestScope, Installed, OpenOptions, Reconciled, RuleBackend } from "../backend.ts";
import { changedInterfaces, readDevice } from "../interface.ts";
import { changesBetween } from "./changes.ts";
import { type Listing, readListing } from "./listing.ts";
import { escapeBytes, tableName } from "./names.ts";
import { applyCommands, checkCommands, refused } from "./nft.ts";
import { bindCommands, type Frame, frameCommands, hookNames } from "./ruleset.ts";
import { type Content, compile, EMPTY } from "./slots.ts";
import { frameText, listTable, removeTables } from "./tables.ts";

/**
 * A firewall of nftables at the devices of a guest: a table of its own in the family netdev, whose chains see all that
 * leaves the guest and all that enters it ahead of bridges, routes, NAT and conntrack. Needs `nft`, CAP_NET_ADMIN, and for `in` Linux 5.16.
 *
 * Packets are counted for each pattern, but for those that share an end and ask different things of the other:
 * `packets` is null there. `reject` is for what leaves the guest. A lease is rounded up to seconds.
 */
export function nftables(): RuleBackend {
  return new NftablesBackend();
}

class NftablesBackend implements RuleBackend {
  readonly name = "nftables";
  #directions: readonly Direction[] = ["out", "in"];
  #frame: Frame | undefined;
  #leaseMs: number | null = null;
  /** Monotonic milliseconds of the last renewal of the lease. */
  #renewed = 0;
  /** What the firewall holds; undefined: to be looked up before anything else is done. */
  #held: Content | undefined;
  /** How nft prints all but elements and lists; null: not as this object made it. */
  #made: string | null = null;
  /** Whether the table has to be made again. */
  #broken = true;
  /** Whether something of ours was found missing since the last reconciliation. */
  #damaged = false;
  /** What this object put in force last. */
  #wanted: Content | undefined;
  /** Packets of patterns, by key: as last listed, and as they were counted in tables that were made again since. */
  #seen = new Map<string, number>();
  #before = new Map<string, number>();

  get capabilities(): BackendCapabilities {
    const inward = this.#directions.includes("in") ? (["drop", "accept", "log"] as const) : [];
    return {
      actions: { out: ["drop", "reject", "accept", "log"], in: inward },
      families: [4, 6],
      counters: true,
      leases: true,
    };
  }

  async open(scope: GuestScope, { signal, leaseMs }: OpenOptions): Promise<void> {
    const frame = {
      table: tableName(scope.id),
      guest: scope.id,
      interfaces: scope.interfaces,
      directions: this.#directions,
    };
    if (scope.interfaces.length === 0) {
      const advice = "Name the guest's device on this host, a tap or vif (--interface)";
      throw new XFilterError("INTERFACE_NOT_FOUND", "No interface was given", advice);
    }
    for (const { name } of scope.interfaces) {
      if ((await readDevice(name)) !== null) continue;
      const what = `There is no interface ${escapeBytes(name, 40)}`;
      throw new XFilterError("INTERFACE_NOT_FOUND", what, "Name the guest's device on this host, a tap or vif");
    }
    await refuseChanged(frame);
    this.#directions = await supportedDirections(frame, signal);
    this.#frame = { ...frame, directions: this.#directions };
    this.#leaseMs = leaseMs;
    this.#held = undefined;
    this.#made = null;
    this.#wanted = undefined;
    this.#damaged = false;
  }

  async inspect({ signal }: { readonly signal: AbortSignal }): Promise<Installed> {
    const frame = this.#opened();
    const { listing, problems } = await this.#look(frame, signal);
    const patterns = (listing?.patterns ?? []).map((pattern) => {
      const { key, packets } = pattern;
      return { ...pattern, packets: packets === null ? null : packets + (this.#before.get(key) ?? 0) };
    });
    return { patterns, bites: problems.length === 0, problems };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: AbortSignal }): Promise<Reconciled> {
    const frame = this.#opened();
    if (plan.patterns.some(({ direction }) => !frame.directions.includes(direction))) throw noEgress();
    const wanted = compile(plan.patterns, this.#wanted);
    await refuseChanged(frame);
    if (this.#held === undefined) await this.#look(frame, signal);
    const whole = this.#broken;
    try {
      return await this.#apply(frame, wanted, signal);
    } catch (error) {
      // Somebody changed what was held since it was seen. Once more, from nothing.
      if (whole || !refused(error)) throw error;
      await this.#look(frame, signal);
      this.#broken = true;
      return await this.#apply(frame, wanted, signal);
    }
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    const frame = this.#frame;
    this.#frame = undefined;
    // Not to be aborted: it is one small command.
    if (frame !== undefined && !keep) await removeTables([frame.table], new AbortController().signal);
  }

  #opened(): Frame {
    if (this.#frame === undefined) throw new XFilterError("CLOSED", "The backend is not open", "Open it first");
    return this.#frame;
  }

  /** Changes what is held into what is wanted, in one transaction. If it fails, what is held is not known. */
  async #apply(frame: Frame, wanted: Content, signal: AbortSignal): Promise<Reconciled> {
    const { table, directions } = frame;
    const [held, broken, repaired] = [this.#held!, this.#broken, this.#damaged];
    const changes = changesBetween(table, directions, held, wanted);
    const commands = broken
      ? [...frameCommands(frame), ...changesBetween(table, directions, EMPTY, wanted).commands]
      : [...changes.commands];
    const now = performance.now();
    const renews = broken || (this.#leaseMs !== null && now - this.#renewed > this.#leaseMs / 3);
    if (renews) commands.push(...bindCommands(frame, this.#leaseMs));
    if (commands.length > 0) {
      const text = broken || changes.touchesFrame ? null : this.#made;
      this.#held = undefined;
      this.#made = text;
      await applyCommands(commands, signal);
      if (renews) this.#renewed = now;
      this.#count(broken, wanted);
      this.#made = text ?? (await frameText(table, signal));
    }
    this.#held = wanted;
    this.#broken = false;
    this.#damaged = false;
    this.#wanted = wanted;
    const { added, removed, unchanged } = changes;
    return { added, removed, unchanged, repaired };
  }

  /** Looks what the firewall holds, and what is wrong with it. */
  async #look(frame: Frame, signal: AbortSignal): Promise<{ listing: Listing | null; problems: string[] }> {
    const problems = await changedInterfaces(frame.interfaces);
    const [objects, text] = await Promise.all([listTable(frame.table, signal), frameText(frame.table, signal)]);
    const listing = objects === null ? null : readListing(objects);
    if (listing === null) problems.push(`there is no table ${frame.table}`);
    else {
      problems.push(...listing.strange, ...missing(frame, listing));
      if (this.#made !== null && this.#made !== text)
        problems.push(`the table ${frame.table} was changed by somebody else`);
    }
    this.#held = listing?.content ?? EMPTY;
    this.#broken = this.#made === null || problems.length > 0;
    const lost = this.#wanted === undefined ? [] : changesBetween(frame.table, [], this.#held, this.#wanted).added;
    if (lost.length > 0) problems.push(`${lost.length} patterns were taken out of the table ${frame.table}`);
    this.#damaged ||= this.#wanted !== undefined && problems.length > 0;
    this.#seen = new Map(listing?.patterns.map(({ key, packets }) => [key, packets ?? 0]));
    return { listing, problems };
  }

  /** Keeps the counts of a table that was made again, for the patterns that are still wanted. */
  #count(madeAgain: boolean, wanted: Content): void {
    if (madeAgain) {
      for (const [key, packets] of this.#seen) this.#before.set(key, packets + (this.#before.get(key) ?? 0));
      this.#seen.clear();
    }
    for (const key of this.#before.keys()) if (!wanted.patterns.has(key)) this.#before.delete(key);
  }
}

/** What a listing lacks of what takes the packets to the maps, one line each. */
function missing(frame: Frame, { chains, bound }: Listing): string[] {
  const gone = hookNames(frame).filter((name) => !chains.has(name));
  const loose = frame.interfaces.filter(({ name, index }) => !bound.includes(name) && !bound.includes(index));
  return [
    ...gone.map((name) => `the chain ${name} of the table ${frame.table} is missing`),
    ...loose.map(({ name }) => `nothing is in force for the interface ${name}: its lease ended, or it was taken out`),
  ];
}

async function refuseChanged({ interfaces }: Frame): Promise<void> {
  const [line] = await changedInterfaces(interfaces);
  if (line === undefined) return;
  const advice =
    "Find the guest's interfaces again and open the backend with them; nothing is in force for another device";
  throw new XFilterError("INTERFACE_CHANGED", line, advice);
}

/** The directions that kernel and nft can catch. */
async function supportedDirections(frame: Frame, signal: AbortSignal): Promise<readonly Direction[]> {
  try {
    await checkCommands(frameCommands({ ...frame, directions: ["out", "in"] }), signal);
    return ["out", "in"];
  } catch (error) {
    if (!refused(error)) throw error;
  }
  try {
    await checkCommands(frameCommands({ ...frame, directions: ["out"] }), signal);
    return ["out"];
  } catch (cause) {
    if (!refused(cause)) throw cause;
    const what = `Kernel or nft lack what is needed here (chains at devices, maps with counters): ${(cause as Error).message}`;
    throw new XFilterError(
      "BACKEND_UNSUPPORTED",
      what,
      "Linux 6.18 with nftables 1.0.6 can do it: try a newer kernel, or a newer nftables",
      {
        cause,
      },
    );
  }
}

function noEgress(): XFilterError {
  const what = "This kernel has no hook for what enters the guest (netdev egress)";
  return new XFilterError("BACKEND_UNSUPPORTED", what, "Use rules with the direction out, or Linux 5.16");
}
