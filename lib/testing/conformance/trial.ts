import type { BackendCapabilities, GuestScope, Installed, Reconciled, RuleBackend } from "../../backends/backend.ts";
import { comesPast, decidingPattern, type Packet } from "../../rules/packet.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import { patternKey } from "../../rules/pattern-key.ts";
import { planOf } from "../plan.ts";
import { overlaps, packetOf, type Way, waysOf } from "./patterns.ts";
import type { BackendUnderTest } from "./subject.ts";

const INTERFACES = [{ name: "tap0", index: 7, mac: "02:00:00:00:00:07" }];
/** Patterns of a plan for which packets are sent. */
const SAMPLE = 4;

/** How an agent is started. */
export interface AgentOptions {
  readonly guest?: string;
  readonly bootId?: string;
  readonly leaseMs?: number | null;
}

/** One case at work: agents of a guest of its own, and what is asked of them. */
export class Trial {
  readonly subject: BackendUnderTest;
  readonly guest: string;
  /** One that is not aborted. */
  readonly signal: AbortSignal = new AbortController().signal;
  readonly #opened: { backend: RuleBackend; scope: GuestScope }[] = [];

  constructor(subject: BackendUnderTest, guest: string) {
    this.subject = subject;
    this.guest = guest;
  }

  /** An agent's backend, opened. */
  async agent(options: AgentOptions = {}): Promise<RuleBackend> {
    const backend = await this.subject.create();
    await this.open(backend, options);
    return backend;
  }

  async open(backend: RuleBackend, { guest = this.guest, bootId = "boot", leaseMs = null }: AgentOptions = {}) {
    const scope = { id: guest, bootId, interfaces: await (this.subject.interfaces ?? (() => INTERFACES))() };
    await backend.open(scope, { signal: this.signal, leaseMs });
    this.#opened.push({ backend, scope });
  }

  put(backend: RuleBackend, patterns: readonly FlowPattern[], signal: AbortSignal = this.signal): Promise<Reconciled> {
    return backend.reconcile(planOf(patterns), { signal });
  }

  inspect(backend: RuleBackend): Promise<Installed> {
    return backend.inspect({ signal: this.signal });
  }

  /** Keys of what is in force by what the backend says, in its order. */
  async keys(backend: RuleBackend): Promise<string[]> {
    const { patterns } = await this.inspect(backend);
    return patterns.map(({ key, ...pattern }) => {
      const own = patternKey(pattern);
      if (own !== key)
        fail(`\`inspect\` tells a pattern by the key "${key}" that is "${own}"`, "Make keys by patternKey()");
      return key;
    });
  }

  /** These are in force, no others, and by what can be seen they do what they say. `when`: after what. */
  async expectHeld(backend: RuleBackend, patterns: readonly FlowPattern[], when: string): Promise<void> {
    const keys = await this.keys(backend);
    sameKeys(keys, patterns.map(patternKey), when);
    const places = new Map(keys.map((key, place) => [key, place]));
    for (const [i, first] of patterns.entries()) {
      for (const second of patterns.slice(i + 1)) {
        const [a, b] = [patternKey(first), patternKey(second)];
        if (first.action === second.action || !overlaps(first, second) || places.get(a)! < places.get(b)!) continue;
        fail(`${when}, "${b}" stands ahead of "${a}", which comes first in the plan`, "Keep the plan's order");
      }
    }
    await this.expectEffect(patterns, when);
  }

  /** A packet for some of the patterns, or for each (`all`): to send one may take long. */
  async expectEffect(patterns: readonly FlowPattern[], when: string, { all = false } = {}): Promise<void> {
    const step = all ? 1 : Math.ceil(patterns.length / SAMPLE);
    for (const [place, pattern] of patterns.entries()) {
      if (place % step === 0) await this.expectPacket(packetOf(pattern), patterns, when);
    }
  }

  /** What really becomes of a packet, where it can be seen, is what the plan says. */
  async expectPacket(packet: Packet, patterns: readonly FlowPattern[], when: string): Promise<void> {
    const passed = await this.subject.passes?.(packet, this.guest);
    const decides = decidingPattern(patterns, packet);
    if (passed === undefined || passed === comesPast(decides?.action)) return;
    const by = decides === undefined ? "no pattern matches it" : `"${patternKey(decides)}" decides on it`;
    fail(`${when}, a packet ${describe(packet)} ${passed ? "came past" : "was stopped"}, and ${by}`);
  }

  /** Takes what is left over out of the firewall. What fails here was found by the case, or does not concern it. */
  async end(): Promise<void> {
    const scopes = new Map(this.#opened.map(({ scope }) => [scope.id, scope]));
    for (const { backend } of this.#opened) await backend.close({ keep: true }).catch(() => {});
    for (const scope of scopes.values()) {
      const last = await this.subject.create();
      const closing = last.open(scope, { signal: this.signal, leaseMs: null }).then(() => last.close({ keep: false }));
      await closing.catch(() => {});
    }
  }
}

/** Ends a case. */
export function fail(what: string, advice = ""): never {
  throw new Error(`${what}.${advice && ` ${advice}.`}`);
}

/** The ways in which a backend stops packets; a case that needs some fails without. */
export function waysToBlock(capabilities: BackendCapabilities): readonly [Way, ...Way[]] {
  const [first, ...others] = waysOf(capabilities);
  if (first !== undefined) return [first, ...others];
  return fail("`capabilities` tell no way in which the backend stops packets", "Name drop or reject, and a family");
}

/** Whether two lists of keys have the same, in whatever order. */
export function equalKeys(a: readonly string[], b: readonly string[]): boolean {
  return [...a].sort().join("\n") === [...b].sort().join("\n");
}

export function sameKeys(found: readonly string[], wanted: readonly string[], when: string): void {
  if (equalKeys(found, wanted)) return;
  const missing = wanted.filter((key) => !found.includes(key));
  const foreign = found.filter((key) => !wanted.includes(key));
  const twice = found.filter((key, place) => found.indexOf(key) !== place);
  const says = [listed("missing", missing), listed("not asked for", foreign), listed("there twice", twice)];
  fail(`${when}, ${says.filter((text) => text !== "").join("; ")}`);
}

/** The result of a reconciliation is this one. */
export function sameResult(
  found: Reconciled,
  {
    added = [],
    removed = [],
    unchanged = 0,
    repaired = false,
  }: Partial<Record<"added" | "removed", readonly FlowPattern[]>> & Partial<Pick<Reconciled, "unchanged" | "repaired">>,
  when: string,
): void {
  sameKeys(found.added, added.map(patternKey), `${when}, of what \`added\` tells`);
  sameKeys(found.removed, removed.map(patternKey), `${when}, of what \`removed\` tells`);
  if (found.unchanged !== unchanged) fail(`${when}, \`unchanged\` is ${found.unchanged}, not ${unchanged}`);
  if (found.repaired !== repaired) fail(`${when}, \`repaired\` is ${found.repaired}, not ${repaired}`);
}

/** Rejects if the work does not. */
export async function refused(work: Promise<unknown>, what: string, advice: string): Promise<void> {
  const done = await work.then(
    () => true,
    () => false,
  );
  if (done) fail(what, advice);
}

function listed(what: string, keys: readonly string[]): string {
  const shown = keys.slice(0, 3).map((key) => `"${key}"`);
  const more = keys.length > shown.length ? ` and ${keys.length - shown.length} more` : "";
  return keys.length === 0 ? "" : `${what}: ${shown.join(", ")}${more}`;
}

function describe({ direction, protocol, local, remote }: Packet): string {
  const text = (end: Packet["local"]) => `${end.address} port ${end.port}`;
  const [from, to] = direction === "out" ? [local, remote] : [remote, local];
  return `of ${protocol} from ${text(from)} to ${text(to)} that ${direction === "out" ? "leaves" : "enters"} the guest`;
}
