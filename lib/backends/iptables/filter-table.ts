import { XFilterError } from "../../errors.ts";
import type { InstalledPattern } from "../backend.ts";
import { refused } from "../program.ts";
import { chainChanges, type Rules } from "./changes.ts";
import { type Frame, frameCommands, jumps, stanceOf, topCommands } from "./frame.ts";
import { type Held, installedPatterns, type Listing, leadsTo, readListing, readSaved } from "./listing.ts";
import { guestOfChain } from "./names.ts";
import { type KeyedPattern, patternChain } from "./rule.ts";
import { isWay, treeOf } from "./tree.ts";
import type { Xtables } from "./xtables.ts";

/** What a change found. */
export interface Applied {
  /** Keys of the patterns that were held, of some more than once. */
  readonly held: readonly string[];
  /** Whether something of ours was missing, and was made again. */
  readonly repaired: boolean;
}

/** A guest's part of the table filter of one IP version. Calls do not overlap. */
export class FilterTable {
  readonly #xtables: Xtables;
  /** What it holds, and had counted when it was last seen; undefined: to be looked up before anything else is done. */
  #held: Held | undefined;
  /** Rules of other chains that lead to ours, as last seen. */
  #jumps: Listing["jumps"] = [];
  /** All but the patterns, as printed when it was made; null: not by this object. */
  #made: string | null = null;
  /** What led here when it was made. */
  #leads: string | undefined;
  /** Whether it has to be made again as a whole. */
  #broken = true;
  /** Whether something of ours was found missing since the last change. */
  #damaged = false;
  /** What this object put there last. */
  #wanted: Rules | undefined;

  constructor(xtables: Xtables) {
    this.#xtables = xtables;
  }

  get name(): string {
    return this.#xtables.name;
  }

  /** Asks for all that is needed, without changing anything. */
  async test(frame: Frame, signal: AbortSignal): Promise<void> {
    const { family } = this.#xtables;
    const ends = { local: { address: null, port: 1 }, remote: { address: null, ports: [1, 2] as const } };
    const samples = (["tcp", "udp", "udplite"] as const).flatMap((protocol) =>
      (["drop", "reject"] as const).map((action) => {
        return { direction: "out", family, protocol, action, ...ends, key: `${protocol} ${action}` } as const;
      }),
    );
    const { made, changed } = chainChanges(NOTHING, rulesOf(frame, samples), true, { chains: frame.chains, family });
    const leads = jumps(frame).map(({ chain, text }) => `-I ${chain} 1 ${text}`);
    const stance = { blocked: ["in", "out"] as const, rejects: true };
    const commands = [
      ...made,
      ...frameCommands(frame, family),
      ...topCommands(frame, family, stance),
      ...changed,
      ...leads,
    ];
    await this.#xtables.test(commands, signal);
  }

  /** Looks what is held, and what is wrong with it. */
  async look(frame: Frame, signal: AbortSignal): Promise<{ patterns: InstalledPattern[]; problems: string[] }> {
    const saved = readSaved(await this.#xtables.save(signal));
    const listing = readListing(saved, frame.chains, this.#xtables.family);
    const problems = [...(listing?.problems ?? [`there are no chains ${frame.chains}`])];
    if (listing !== null && this.#made !== null && listing.frame !== this.#made)
      problems.push("chains of ours, or what leads to them, were changed by somebody else");
    this.#held = listing ?? NOTHING;
    this.#jumps = listing?.jumps ?? [];
    if (this.#wanted !== undefined && listing !== null) {
      const other = differing(this.#wanted, listing.rules);
      if (other > 0) problems.push(`patterns in ${other} chains were changed by somebody else`);
    }
    this.#broken = this.#made === null || problems.length > 0;
    this.#damaged ||= this.#wanted !== undefined && problems.length > 0;
    return { patterns: installedPatterns(this.#held), problems: problems.map((problem) => `${this.name}: ${problem}`) };
  }

  /** Makes it hold the patterns, in one step. If it fails, what is held is not known. */
  async apply(frame: Frame, patterns: readonly KeyedPattern[], signal: AbortSignal): Promise<Applied> {
    if (this.#held === undefined) await this.look(frame, signal);
    this.#broken ||= JSON.stringify(jumps(frame)) !== this.#leads;
    const whole = this.#broken;
    try {
      return await this.#change(frame, patterns, signal);
    } catch (error) {
      // Somebody changed what was held since it was seen. Once more, from nothing.
      if (whole || !refused(error)) throw error;
      await this.look(frame, signal);
      this.#broken = true;
      return await this.#change(frame, patterns, signal);
    }
  }

  async #change(frame: Frame, patterns: readonly KeyedPattern[], signal: AbortSignal): Promise<Applied> {
    const { family } = this.#xtables;
    const wanted = rulesOf(frame, patterns);
    const held = this.#held!;
    const there = patternsOf(held.rules);
    const applied = { held: there.map(({ key }) => key), repaired: this.#damaged };
    const [now, before] = [stanceOf(patterns), stanceOf(there)];
    const reframed = this.#broken || JSON.stringify(now) !== JSON.stringify(before);
    const { chains } = frame;
    const broken = this.#broken;
    const { made, changed, counts } = chainChanges(held, wanted, broken, { chains, family });
    const commands = [
      ...made,
      ...(broken ? [...frameCommands(frame, family), ...this.#leadHere(frame)] : []),
      ...(reframed ? topCommands(frame, family, now) : []),
      ...changed,
    ];
    if (commands.length > 0) {
      this.#held = undefined;
      await this.#xtables.restore(commands, signal);
      if (reframed) this.#made = null;
    }
    this.#leads = JSON.stringify(jumps(frame));
    this.#wanted = wanted;
    this.#held = { rules: wanted, counts };
    this.#broken = false;
    this.#damaged = false;
    if (this.#made === null) {
      // What is in force is, also where it cannot be looked at: it is then made again after the next look.
      await this.#remember(frame, signal).catch(() => {
        this.#held = undefined;
      });
    }
    return applied;
  }

  /** Keeps how our own work is printed. */
  async #remember(frame: Frame, signal: AbortSignal): Promise<void> {
    const listing = readListing(readSaved(await this.#xtables.save(signal)), frame.chains, this.#xtables.family);
    this.#made = listing?.frame ?? null;
    this.#jumps = listing?.jumps ?? [];
  }

  /** In front of all rules of others, whatever led here before. */
  #leadHere(frame: Frame): string[] {
    const leads = jumps(frame);
    const places = new Map<string, number>();
    return [
      ...this.#jumps.map(({ chain, text }) => `-D ${chain} ${text}`),
      ...leads.map(({ chain, text }) => {
        const place = (places.get(chain) ?? 0) + 1;
        places.set(chain, place);
        return `-I ${chain} ${place} ${text}`;
      }),
    ];
  }

  /** Takes out what leads a device's packets here: under its name there is another's device. */
  async release(frame: Frame, devices: readonly string[], signal: AbortSignal): Promise<void> {
    await this.look(frame, signal);
    const of = ({ text }: { readonly text: string }) => devices.some((name) => text.split(" ").includes(name));
    const commands = this.#jumps.filter(of).map(({ chain, text }) => `-D ${chain} ${text}`);
    if (commands.length === 0) return;
    this.#held = undefined;
    await this.#xtables.restore(commands, signal);
  }
}

/** Takes the chains of guests (`chainsOfGuest`) out of a table, and all that leads to them. */
export async function removeChains(xtables: Xtables, guests: readonly string[], signal: AbortSignal): Promise<void> {
  const saved = await xtables.saveExisting(signal);
  if (saved?.strange) return await emptyChains(xtables, guests, signal);
  const { chains, rules } = readSaved(saved?.text ?? "");
  const own = chains.filter((chain) => guests.includes(guestOfChain(chain) ?? ""));
  if (own.length === 0) return;
  const leads = rules.filter((rule) => guests.includes(leadsTo(rule) ?? "") && !own.includes(rule.chain));
  await xtables.restore(
    [
      ...leads.map(({ chain, text }) => `-D ${chain} ${text}`),
      ...own.map((chain) => `-F ${chain}`),
      ...own.map((chain) => `-X ${chain}`),
    ],
    signal,
  );
}

/** What nobody can print cannot be looked through: nothing of theirs has an effect any more, but it stays there. */
async function emptyChains(xtables: Xtables, guests: readonly string[], signal: AbortSignal): Promise<void> {
  const there: string[] = [];
  for (const guest of guests) {
    try {
      await xtables.restore([`-F ${guest}_o`, `-F ${guest}_i`], signal);
      there.push(guest);
    } catch (error) {
      // There are none. Any other failure leaves in force what is there.
      if (!refused(error) || !/No chain/.test((error as XFilterError).message)) throw error;
    }
  }
  if (there.length === 0) return;
  const what = `nft made rules in the table filter that ${xtables.name} does not understand: it cannot take out the chains ${there.join(", ")}, and has emptied them`;
  throw new XFilterError(
    "BACKEND_UNSUPPORTED",
    what,
    "They have no effect. Take out what nft made, and then these (xfilter clear)",
  );
}

const NOTHING: Held = { rules: new Map(), counts: new Map() };

/** Patterns in the order of the plan, in the chains where they go; each protocol's first one is there, also where it is empty. */
function rulesOf({ chains }: Frame, patterns: readonly KeyedPattern[]): Rules {
  const roots = new Map<string, KeyedPattern[]>();
  for (const direction of ["out", "in"] as const)
    for (const protocol of ["tcp", "udp", "udplite"] as const)
      roots.set(chains + patternChain({ direction, protocol }), []);
  for (const pattern of patterns) roots.get(chains + patternChain(pattern))!.push(pattern);
  return new Map([...roots].flatMap(([root, list]) => [...treeOf(root, list)]));
}

function patternsOf(rules: Rules): KeyedPattern[] {
  return [...rules.values()].flat().filter((rule): rule is KeyedPattern => !isWay(rule));
}

/** How many chains are not the same. */
function differing(wanted: Rules, held: Rules): number {
  const keys = (rules: Rules, chain: string) =>
    rules
      .get(chain)
      ?.map(({ key }) => key)
      .join("\n");
  const chains = new Set([...wanted.keys(), ...held.keys()]);
  return [...chains].filter((chain) => keys(wanted, chain) !== keys(held, chain)).length;
}
