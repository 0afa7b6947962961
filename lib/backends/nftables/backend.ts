import { XFilterError } from "../../errors.ts";
import type { FlowPattern, Plan } from "../../rules/pattern.ts";
import type { BackendCapabilities, GuestScope, Installed, OpenOptions, Reconciled, RuleBackend } from "../backend.ts";
import { changedInterfaces, refuseChanged } from "../interface.ts";
import { refused } from "../program.ts";
import { changesBetween, compareKeys, holds } from "./changes.ts";
import { joinListings, type Listing, readListing } from "./listing.ts";
import { tablesOfGuest } from "./names.ts";
import { applyCommands } from "./nft.ts";
import { passingBy, type Reach, reach, refuseActions, refuseMissing } from "./requirements.ts";
import { AT_DEVICES, bindCommands, type Frame, frameCommands, hookNames, ON_THE_WAY, type Part } from "./ruleset.ts";
import { type Content, compile, EMPTY } from "./slots.ts";
import { frameText, listTable, removeTables, tableInForce, tablesNamed } from "./tables.ts";

/**
 * A firewall of nftables at the devices of a guest: a table of its own in the family netdev, whose chains see all that
 * leaves the guest and all that enters it ahead of bridges, routes, NAT and conntrack. Needs `nft` and CAP_NET_ADMIN.
 *
 * On Linux before 5.16 what enters the guest is caught where bridges and routing send it; `in` is refused where it goes other ways.
 *
 * Packets are counted for each pattern, but for those that share an end and ask different things of the other:
 * `packets` is null there. `reject` is for what leaves the guest. A lease is rounded up to seconds.
 */
export function nftables(): RuleBackend {
  return new NftablesBackend();
}

class NftablesBackend implements RuleBackend {
  readonly name = "nftables";
  #reach: Reach = { parts: AT_DEVICES, rejects: true, blind: null };
  #frame: Frame | undefined;
  /** Whose tables are to be taken out at the end, also where they were kept for a boot for which the backend could not be opened. */
  #guest: string | undefined;
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
    const { blind, rejects } = this.#reach;
    const actions = ["drop", "accept", "log"] as const;
    return {
      ...(blind !== null && { why: { in: blind } }),
      actions: { out: rejects ? ["drop", "reject", "accept", "log"] : actions, in: blind === null ? actions : [] },
      families: [4, 6],
      counters: true,
      leases: true,
    };
  }

  async open(scope: GuestScope, { signal, leaseMs }: OpenOptions): Promise<void> {
    const frame = {
      table: tablesOfGuest(scope.id)[0],
      guest: scope.id,
      interfaces: scope.interfaces,
      parts: AT_DEVICES,
      rejects: true,
    };
    await refuseMissing(scope);
    await refuseChanged(frame.interfaces);
    this.#reach = await reach(frame, signal);
    const { parts, rejects } = this.#reach;
    this.#frame = { ...frame, parts, rejects };
    this.#guest = scope.id;
    this.#leaseMs = leaseMs;
    this.#held = undefined;
    this.#made = null;
    this.#wanted = undefined;
    this.#damaged = false;
  }

  async inspect({ signal }: { readonly signal: AbortSignal }): Promise<Installed> {
    const { listing, problems } = await this.#look(signal);
    const patterns = (listing?.patterns ?? []).map((pattern) => {
      const { key, packets } = pattern;
      return { ...pattern, packets: packets === null ? null : packets + (this.#before.get(key) ?? 0) };
    });
    return { patterns, bites: problems.length === 0, problems };
  }

  async reconcile(plan: Plan, { signal }: { readonly signal: AbortSignal }): Promise<Reconciled> {
    const frame = this.#opened();
    const wanted = compile(plan.patterns, this.#wanted);
    await refuseChanged(frame.interfaces);
    const blind = await this.#blindTo(plan.patterns, frame, signal);
    if (blind !== null) throw blind;
    refuseActions(plan, this.capabilities);
    if (this.#held === undefined) await this.#look(signal);
    const whole = this.#broken;
    try {
      return await this.#apply(this.#opened(), wanted, signal);
    } catch (error) {
      // Somebody changed what was held since it was seen. Once more, from nothing.
      if (whole || !refused(error)) throw error;
      await this.#look(signal);
      this.#broken = true;
      return await this.#apply(this.#opened(), wanted, signal);
    }
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    this.#frame = undefined;
    if (keep || this.#guest === undefined) return;
    // Not to be aborted: it is little.
    const { signal } = new AbortController();
    await removeTables(await tablesNamed(tablesOfGuest(this.#guest), signal), signal);
    this.#guest = undefined;
  }

  /** Why packets of these patterns may not be caught, null if they are. */
  async #blindTo(patterns: Iterable<FlowPattern>, frame: Frame, signal: AbortSignal): Promise<XFilterError | null> {
    if (![...patterns].some(({ direction }) => direction === "in")) return null;
    const { parts, blind } = this.#reach;
    return parts === ON_THE_WAY ? await passingBy(frame, signal) : blind;
  }

  #opened(): Frame {
    if (this.#frame === undefined) throw new XFilterError("CLOSED", "The backend is not open", "Open it first");
    return this.#frame;
  }

  /** Changes what is held into what is wanted. If it fails, what is held is not known. */
  async #apply(frame: Frame, wanted: Content, signal: AbortSignal): Promise<Reconciled> {
    const [broken, repaired] = [this.#broken, this.#damaged];
    const changes = changesBetween(frame, this.#held!, wanted);
    const now = performance.now();
    if (broken) {
      await this.#replace(frame, wanted, signal);
      this.#renewed = now;
    } else {
      // Whoever asks each third of the lease to have it renewed is not to be told to come again.
      const due = this.#leaseMs !== null && now - this.#renewed > this.#leaseMs / 4;
      const commands = [...changes.commands, ...(due ? bindCommands(frame, this.#leaseMs) : [])];
      if (commands.length > 0) {
        const text = changes.touchesFrame ? null : this.#made;
        this.#held = undefined;
        this.#made = text;
        if (changes.lists.length > 0) await applyCommands(changes.lists, signal);
        await applyCommands(commands, signal);
        if (due) this.#renewed = now;
        this.#made = text ?? (await frameTexts(frame, signal).catch(() => null));
      }
    }
    for (const key of this.#before.keys()) if (!wanted.patterns.has(key)) this.#before.delete(key);
    this.#held = wanted;
    this.#broken = false;
    this.#damaged = false;
    this.#wanted = wanted;
    const { added, removed, unchanged } = changes;
    return { added, removed, unchanged, repaired };
  }

  /**
   * Makes a table anew, beside the one in force, and takes that one out when the new one bites. Not in its place: a packet that
   * is on its way through both while they change hands finds the new one not yet made and the old one gone.
   */
  async #replace(frame: Frame, wanted: Content, signal: AbortSignal): Promise<void> {
    const names = tablesOfGuest(frame.guest);
    const next = { ...frame, table: names[frame.table === names[0] ? 1 : 0] };
    const { lists, commands } = changesBetween(next, EMPTY, wanted);
    this.#held = undefined;
    this.#made = null;
    await applyCommands([...frameCommands(next), ...lists, ...commands, ...bindCommands(next, this.#leaseMs)], signal);
    // Those of another kernel's families, too, which came back with a saved ruleset.
    const others = (await tablesNamed(names, signal)).filter(
      ({ family, name }) => name !== next.table || !next.parts.some((part) => part.family === family),
    );
    await removeTables(others, signal);
    this.#frame = next;
    // Counts of the old table, for the patterns that are still wanted.
    for (const [key, packets] of this.#seen) this.#before.set(key, packets + (this.#before.get(key) ?? 0));
    this.#seen.clear();
    // What is in force is, also where it cannot be looked at: it is then made again after the next look.
    this.#made = await frameTexts(next, signal).catch(() => null);
  }

  /** Looks what the firewall holds, and what is wrong with it. */
  async #look(signal: AbortSignal): Promise<{ listing: Listing | null; problems: string[] }> {
    let frame = this.#opened();
    const problems = await changedInterfaces(frame.interfaces);
    let [listings, text] = this.#made === null ? [null, null] : await readTables(frame, signal);
    if (listings === null) {
      // The tables of an earlier agent, or of one that came in between.
      frame = { ...frame, table: await tableInForce(tablesOfGuest(frame.guest), signal) };
      this.#frame = frame;
      [listings, text] = await readTables(frame, signal);
    }
    const listing = listings === null ? null : joinListings([...listings.values()]);
    if (listing === null) problems.push(`there is no table ${frame.table}`);
    else {
      problems.push(...listing.strange, ...missing(frame, listings!, listing));
      if (this.#made !== null && this.#made !== text)
        problems.push(`the table ${frame.table} was changed by somebody else`);
    }
    this.#held = listing?.content ?? EMPTY;
    const blind = await this.#blindTo(this.#held.patterns.values(), frame, signal);
    if (blind !== null) problems.push(blind.message);
    this.#broken = this.#made === null || problems.length > 0;
    const lost = this.#wanted === undefined ? [] : compareKeys(this.#held, this.#wanted).added;
    if (lost.length > 0) problems.push(`${lost.length} patterns were taken out of the table ${frame.table}`);
    this.#damaged ||= this.#wanted !== undefined && problems.length > 0;
    this.#seen = new Map(listing?.patterns.map(({ key, packets }) => [key, packets ?? 0]));
    return { listing, problems };
  }
}

/** The guest's tables that are there, and how nft prints their frames; nulls if there is none. */
async function readTables(
  frame: Frame,
  signal: AbortSignal,
): Promise<[ReadonlyMap<Part, Listing> | null, string | null]> {
  const listings = new Map<Part, Listing>();
  for (const part of frame.parts) {
    const objects = await listTable({ family: part.family, name: frame.table }, signal);
    if (objects !== null) listings.set(part, readListing(objects));
  }
  return listings.size === 0 ? [null, null] : [listings, await frameTexts(frame, signal)];
}

async function frameTexts({ table, parts }: Frame, signal: AbortSignal): Promise<string> {
  const texts = await Promise.all(parts.map(({ family }) => frameText({ family, name: table }, signal)));
  return texts.join("\n");
}

/** What the tables lack of what takes the packets to the maps, or of what others of them hold, one line each. */
function missing(frame: Frame, listings: ReadonlyMap<Part, Listing>, { content }: Listing): string[] {
  return frame.parts.flatMap((part) => {
    const table = `${part.family} ${frame.table}`;
    const listing = listings.get(part);
    if (listing === undefined) return [`there is no table ${table}`];
    const { chains, bound } = listing;
    const gone = hookNames(frame, part).filter((name) => !chains.has(name));
    const loose = frame.interfaces.filter(({ name, index }) => !bound.includes(name) && !bound.includes(index));
    return [
      ...gone.map((name) => `the chain ${name} of the table ${table} is missing`),
      ...loose.map(({ name }) => `nothing is in force for the interface ${name}: its lease ended, or it was taken out`),
      ...(holds(part, listing.content, content) ? [] : [`the table ${table} lacks what another holds`]),
    ];
  });
}
