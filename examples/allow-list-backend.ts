import { createHash } from "node:crypto";
import { access, constants, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { GuestScope, Installed, OpenOptions, Plan, Reconciled, RuleBackend } from "xfilter-core/backends";
import { type FlowPattern, patternKey } from "xfilter-core/rules";
import { type AllowList, allowLists } from "./allow-list.ts";

// A backend for a firewall that knows no "drop": of a port it holds what may pass, and drops all else, as security groups do. It has a file
// for each guest:
//
//   {"guest": "vm1", "lists": [{"direction": "out", "family": 4, "protocol": "tcp", "port": 40003, "allow": […]}], "patterns": […]}
//
// `lists` are what the firewall reads. What it holds cannot be told from them: `patterns` say what they were made of, and are believed
// only as long as the lists are what they make.

export interface AllowListOptions {
  /** Where the firewall looks for the files. Nobody else may write there. */
  readonly directory: string;
  /** Entries that the firewall has room for, for one guest: 1,000 if not given. A plan that takes more is refused as a whole. */
  readonly maxEntries?: number;
}

interface GuestFile {
  readonly guest: string;
  readonly lists: readonly AllowList[];
  readonly patterns: readonly FlowPattern[];
}

type Abortable = { readonly signal: AbortSignal };

export function allowListBackend(options: AllowListOptions): RuleBackend {
  return new AllowListBackend(options);
}

class AllowListBackend implements RuleBackend {
  readonly name = "allow-list";
  readonly capabilities = {
    // A list says what may pass: it tells nobody (`reject`), writes nothing down (`log`), and counts nothing.
    actions: { out: ["drop", "accept"], in: ["drop", "accept"] },
    families: [4, 6],
    counters: false,
    leases: false,
  } as const;
  readonly #directory: string;
  readonly #maxEntries: number;
  #guest = "";
  #path: string | null = null;
  /** Keys of what this object put in force last. */
  #wanted: readonly string[] = [];

  constructor({ directory, maxEntries = 1_000 }: AllowListOptions) {
    this.#directory = directory;
    this.#maxEntries = maxEntries;
  }

  async open({ id }: GuestScope, { signal }: OpenOptions): Promise<void> {
    signal.throwIfAborted();
    // Without a code of xfilter-core's, what this rejects with is a filter's BACKEND_FAILED, and says which file.
    await access(this.#directory, constants.W_OK);
    // A guest's id is any text, and no name of a file.
    this.#path = join(this.#directory, `${createHash("sha256").update(id).digest("hex").slice(0, 32)}.json`);
    this.#guest = id;
    this.#wanted = [];
  }

  async inspect({ signal }: Abortable): Promise<Installed> {
    const { patterns, intact } = await this.#held(signal);
    return {
      patterns: patterns.map((pattern) => ({ ...pattern, key: patternKey(pattern), packets: null })),
      bites: intact,
      problems: intact ? [] : [`the lists in ${this.#path} are not what was put there`],
    };
  }

  async reconcile(plan: Plan, { signal }: Abortable): Promise<Reconciled> {
    const { patterns, intact } = await this.#held(signal);
    const held = patterns.map(patternKey);
    const wanted = plan.patterns.map(({ key }) => key);
    if (!intact || held.join() !== wanted.join()) await this.#write(plan.patterns.map(patternOf), signal);
    const [has, wants] = [new Set(held), new Set(wanted)];
    const repaired = this.#wanted.length > 0 && (!intact || this.#wanted.some((key) => !has.has(key)));
    this.#wanted = wanted;
    const added = wanted.filter((key) => !has.has(key));
    const removed = held.filter((key) => !wants.has(key));
    return { added, removed, unchanged: wanted.length - added.length, repaired };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    const path = this.#path;
    this.#path = null;
    // A guest without a file has no lists: its ports are open.
    if (keep || path === null) return;
    for (const one of [path, `${path}.new`]) await rm(one, { force: true });
  }

  /** What the file says, and whether its lists are what its patterns make. */
  async #held(signal: AbortSignal): Promise<{ patterns: readonly FlowPattern[]; intact: boolean }> {
    const text = await readFile(this.#opened(), { encoding: "utf8", signal }).catch((error) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    if (text === null) return { patterns: [], intact: true };
    try {
      const { lists, patterns } = JSON.parse(text) as GuestFile;
      return { patterns, intact: isDeepStrictEqual(lists, allowLists(patterns, this.#maxEntries)) };
    } catch {
      // Somebody wrote there what is no such file.
      return { patterns: [], intact: false };
    }
  }

  /** In one step: the firewall finds the old lists or the new ones. */
  async #write(patterns: readonly FlowPattern[], signal: AbortSignal): Promise<void> {
    const path = this.#opened();
    const file: GuestFile = { guest: this.#guest, lists: allowLists(patterns, this.#maxEntries), patterns };
    await writeFile(`${path}.new`, JSON.stringify(file), { signal });
    signal.throwIfAborted();
    await rename(`${path}.new`, path);
  }

  #opened(): string {
    if (this.#path !== null) return this.#path;
    throw Object.assign(new Error("The backend is not open."), { code: "CLOSED", advice: "Open it first." });
  }
}

/** What the lists are made of. Whom the guest says it is for stays here. */
function patternOf({ direction, family, protocol, local, remote, action }: FlowPattern): FlowPattern {
  return { direction, family, protocol, local, remote, action };
}
