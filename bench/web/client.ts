// A client of the guest's web server, in a process of its own out there: forked by clients.ts with the server's address, port and
// the length of its answer. Told an offer it asks, and says how that was.
import { Agent, get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { type Spread, spread } from "../measure.ts";

/** So many requests a second, each on a connection of its own; or as many as get answers, on so many connections that stay. */
export type Offer = { readonly seconds: number } & ({ readonly perSecond: number } | { readonly connections: number });

export interface Answered {
  readonly requests: number;
  /** Right in every byte. */
  readonly answered: number;
  /** How often, by what went wrong. */
  readonly failed: Readonly<Record<string, number>>;
  /** Answers a second, until the last one. */
  readonly perSecond: number;
  /** From when a request was due to the end of its answer, in milliseconds. */
  readonly latency: Spread;
}

const PATIENCE_MS = 10_000;
const [host, port, bytes] = process.argv.slice(2) as [string, string, string];
const expected = Buffer.from(Array.from({ length: Number(bytes) }, (_, i) => "a".charCodeAt(0) + (i % 26)));

/** `false` of an agent: a connection for this request alone, which this end closes. */
function request(agent: Agent | false): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = get({ host, port, agent, timeout: PATIENCE_MS }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("data", (part: Buffer) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        if (answer.statusCode === 200 && Buffer.concat(parts).equals(expected)) resolve();
        else reject(new Error("another answer"));
      });
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${PATIENCE_MS} ms`)));
    asked.on("error", reject);
  });
}

class Account {
  private readonly started = performance.now();
  private last = this.started;
  private requests = 0;
  private readonly failed: Record<string, number> = {};
  private readonly latencies: number[] = [];

  async ask(agent: Agent | false, due: number): Promise<void> {
    this.requests++;
    try {
      await request(agent);
      this.last = performance.now();
      this.latencies.push(this.last - due);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const why = code ?? message;
      this.failed[why] = (this.failed[why] ?? 0) + 1;
    }
  }

  result(seconds: number): Answered {
    const { requests, failed, latencies } = this;
    const took = Math.max(seconds, (this.last - this.started) / 1000);
    const answered = latencies.length;
    return { requests, answered, failed, perSecond: answered / took, latency: spread(latencies) };
  }
}

/** Whether answers come or not. */
async function offer(perSecond: number, seconds: number): Promise<Answered> {
  const account = new Account();
  const start = performance.now();
  const asked: Promise<void>[] = [];
  for (let i = 0; i < perSecond * seconds; i++) {
    const due = start + (i * 1000) / perSecond;
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    asked.push(account.ask(false, due));
  }
  await Promise.all(asked);
  return account.result(seconds);
}

async function saturate(connections: number, seconds: number): Promise<Answered> {
  const account = new Account();
  const end = performance.now() + seconds * 1000;
  const asking = Array.from({ length: connections }, async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (performance.now() < end) await account.ask(agent, performance.now());
    agent.destroy();
  });
  await Promise.all(asking);
  return account.result(seconds);
}

process.on("message", async (offered: Offer) => {
  const { seconds } = offered;
  process.send!(
    await ("perSecond" in offered ? offer(offered.perSecond, seconds) : saturate(offered.connections, seconds)),
  );
});
process.send!("ready");
