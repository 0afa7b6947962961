import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { revisionOf, signatureOf } from "../../examples/webhook-backend.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";

export const SECRET = "a secret of the test";

interface Change {
  readonly from: string;
  readonly to: string;
  readonly remove: readonly string[];
  readonly add: readonly (readonly [place: number, pattern: FlowPattern])[];
}

/** The service behind the webhook, on this machine: a firewall in memory. */
export class WebhookService {
  readonly guests = new Map<string, readonly FlowPattern[]>();
  /** What goes wrong with the next requests: nothing, a status in place of the work, or "lost", for work whose answer never comes. */
  readonly faults: (number | "lost" | null)[] = [];
  /** Each request: method and status. */
  readonly log: string[] = [];
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const body = await textOf(request);
      const fault = this.faults.shift();
      const [status, text] = typeof fault === "number" ? [fault, ""] : this.#answer(request, body);
      this.log.push(`${request.method} ${fault === "lost" ? fault : status}`);
      if (fault === "lost") request.socket.destroy();
      else response.writeHead(status).end(text);
    });
  }

  static async start(): Promise<WebhookService> {
    const service = new WebhookService();
    service.#server.listen(0, "127.0.0.1");
    await once(service.#server, "listening");
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #answer({ method = "", url = "", headers }: IncomingMessage, body: string): [status: number, text: string] {
    if (headers["x-signature"] !== signatureOf(SECRET, String(headers["x-time"]), method, url, body)) return [401, ""];
    const guest = decodeURIComponent(url.replace("/guests/", ""));
    const patterns = this.guests.get(guest);
    if (method === "DELETE") this.guests.delete(guest);
    if (method === "PATCH") return [this.#change(guest, JSON.parse(body) as Change), ""];
    if (method !== "GET" || patterns !== undefined) return [200, JSON.stringify(stateOf(patterns ?? []))];
    return [404, ""];
  }

  #change(guest: string, { from, to, remove, add }: Change): number {
    const held = this.guests.get(guest) ?? [];
    const { revision } = stateOf(held);
    if (revision === to) return 200;
    if (revision !== from) return 409;
    const next = held.filter((pattern) => !remove.includes(patternKey(pattern)));
    for (const [place, pattern] of add) next.splice(place, 0, pattern);
    if (stateOf(next).revision !== to) return 422;
    this.guests.set(guest, next);
    return 200;
  }
}

function stateOf(patterns: readonly FlowPattern[]) {
  return { revision: revisionOf(patterns.map(patternKey)), patterns };
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
