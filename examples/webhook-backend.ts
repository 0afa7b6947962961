import { createHash, createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuestScope, Installed, OpenOptions, Plan, Reconciled, RuleBackend } from "xfilter-core/backends";
import { type FlowPattern, patternKey } from "xfilter-core/rules";

// A backend for a firewall that is behind an HTTP service:
//
//   GET    /guests/ID   {"revision": "…", "patterns": […]}; 404: nothing is in force
//   PATCH  /guests/ID   {"from": "…", "to": "…", "remove": [keys], "add": [[place, pattern], …]}; 409: it is at neither revision
//   DELETE /guests/ID
//
// The service changes from one revision to the next in one step. A revision is named by what it holds, so a request whose answer was lost
// may be sent again: whoever is at `to` already says so.

export interface WebhookOptions {
  /** "https://firewall.example/v1" */
  readonly url: string;
  /** Shared with the service: it signs each request, so that nobody else opens a guest's firewall. */
  readonly secret: string;
  /** How often a request is sent that gets no answer, or one of 429 or 5xx; 4 if not given. */
  readonly attempts?: number;
  /** Milliseconds before the second attempt, twice as many before each further one; 200 if not given. */
  readonly backoffMs?: number;
}

interface State {
  readonly revision: string;
  readonly patterns: readonly FlowPattern[];
}

type Abortable = { readonly signal: AbortSignal };

export function webhook(options: WebhookOptions): RuleBackend {
  return new WebhookBackend(options);
}

class WebhookBackend implements RuleBackend {
  readonly name = "webhook";
  readonly capabilities = {
    actions: { out: ["drop", "reject", "accept", "log"], in: ["drop", "reject", "accept", "log"] },
    families: [4, 6],
    counters: false,
    leases: false,
  } as const;
  readonly #options: Required<WebhookOptions>;
  #guest: string | null = null;
  /** Keys of what this object put in force last. */
  #wanted: readonly string[] = [];

  constructor(options: WebhookOptions) {
    this.#options = { attempts: 4, backoffMs: 200, ...options };
  }

  async open({ id }: GuestScope, { signal }: OpenOptions): Promise<void> {
    await this.#state(id, signal);
    this.#guest = id;
    this.#wanted = [];
  }

  async inspect({ signal }: Abortable): Promise<Installed> {
    const { patterns } = await this.#state(this.#opened(), signal);
    return {
      patterns: patterns.map((pattern) => ({ ...pattern, key: patternKey(pattern), packets: null })),
      bites: true,
      problems: [],
    };
  }

  async reconcile(plan: Plan, { signal }: Abortable): Promise<Reconciled> {
    const guest = this.#opened();
    const { revision, patterns } = await this.#state(guest, signal);
    const wanted = plan.patterns.map(({ key }) => key);
    const held = patterns.map(patternKey);
    const [has, wants] = [new Set(held), new Set(wanted)];
    const added = wanted.filter((key) => !has.has(key));
    const removed = held.filter((key) => !wants.has(key));
    // Those that stay are taken out and put in again where they stand in another order.
    const moved = held.filter((key) => wants.has(key)).join() !== wanted.filter((key) => has.has(key)).join();
    const to = revisionOf(wanted);
    if (to !== revision) {
      const remove = moved ? held : removed;
      const add = plan.patterns.flatMap((pattern, place) => {
        return moved || !has.has(pattern.key) ? [[place, patternOf(pattern)]] : [];
      });
      await this.#send("PATCH", guest, { from: revision, to, remove, add }, signal);
    }
    const repaired = this.#wanted.some((key) => !has.has(key));
    this.#wanted = wanted;
    return { added, removed, unchanged: wanted.length - added.length, repaired };
  }

  async close({ keep }: { readonly keep: boolean }): Promise<void> {
    const guest = this.#guest;
    this.#guest = null;
    if (!keep && guest !== null) await this.#send("DELETE", guest, null, new AbortController().signal);
  }

  #opened(): string {
    if (this.#guest === null) throw failed("CLOSED", "The backend is not open", "Open it first");
    return this.#guest;
  }

  async #state(guest: string, signal: AbortSignal): Promise<State> {
    const text = await this.#send("GET", guest, null, signal);
    return text === null ? { revision: revisionOf([]), patterns: [] } : (JSON.parse(text) as State);
  }

  /** The answer; null if there is nothing there. */
  async #send(method: string, guest: string, body: object | null, signal: AbortSignal): Promise<string | null> {
    const { url, secret, attempts, backoffMs } = this.#options;
    const path = `/guests/${encodeURIComponent(guest)}`;
    const content = body === null ? "" : JSON.stringify(body);
    for (let attempt = 1; ; attempt++) {
      const time = String(Date.now());
      const signature = signatureOf(secret, time, method, path, content);
      const headers = { "content-type": "application/json", "x-time": time, "x-signature": signature };
      const request = { method, headers, signal, ...(body !== null && { body: content }) };
      let problem: string;
      try {
        const answer = await fetch(url + path, request);
        const text = await answer.text();
        if (answer.ok) return text;
        if (answer.status === 404 && method !== "PATCH") return null;
        problem = `${method} ${path} was answered by ${answer.status}`;
        if (answer.status !== 429 && answer.status < 500) attempt = attempts;
      } catch (error) {
        signal.throwIfAborted();
        problem = `${method} ${path} failed: ${(error as Error).message}`;
      }
      if (attempt >= attempts) throw failed("BACKEND_FAILED", problem, "Look at the service's log");
      await sleep(backoffMs * 2 ** (attempt - 1), undefined, { signal });
    }
  }
}

/** What the service compares; the time keeps a request from being played back later. */
export function signatureOf(secret: string, ...parts: readonly string[]): string {
  return createHmac("sha256", secret).update(JSON.stringify(parts)).digest("hex");
}

export function revisionOf(keys: readonly string[]): string {
  return createHash("sha256").update(keys.join("\n")).digest("hex");
}

/** What a firewall has to know. Whom the guest says it is for stays here. */
function patternOf({ direction, family, protocol, local, remote, action }: FlowPattern): FlowPattern {
  return { direction, family, protocol, local, remote, action };
}

/** An error as a filter understands it: one of its codes, what happened, and what to do. */
function failed(code: "CLOSED" | "BACKEND_FAILED", what: string, advice: string): Error {
  return Object.assign(new Error(`${what}.`), { code, advice });
}
