import { introspect } from "xfilter-core";
import { createFilter } from "xfilter-core/filter";
import { flows, heard, lostBy, stands } from "../../test/filter/observing.ts";
import { type Firewall, firewalls } from "../../test/xen/dom0/firewalls.ts";
import { program } from "../../test/xen/dom0/program.ts";
import { WiredDomain } from "../../test/xen/dom0/wired-domain.ts";
import { alice, mallory, noSshForMallory, usual } from "../../vmcore-fixtures/lab-users.ts";
import { between, nextPoll } from "../filter/polling.ts";
import { type Spread, spread } from "../measure.ts";

export interface Rounds {
  readonly name: string;
  readonly firewall: Firewall;
  /** How many, one after the other, each of which blocks two connections. */
  readonly rules: number;
}

export interface Blocking {
  /** Milliseconds from the rule to the last byte of each connection that arrived outside. */
  readonly lastPassed: Spread;
  /** Milliseconds of that for which the filter waited for the firewall. */
  readonly applied: Spread;
  /** What another user of the domain sent meanwhile. */
  readonly bytesOfOthers: number;
  readonly lost: readonly string[];
}

const INTERVAL_MS = 200;
/** Often, so that what arrived last arrived shortly before it was blocked. */
const EVERY_MS = 5;
const FLOWS = ["tcp4:22", "udp6:22"];
/** In which nothing arrives any more, each a second. */
const TRIES = 10;

// A user's connections that are there when a rule about him comes, at any time between two polls.
await program(async ({ name, firewall, rules }: Rounds): Promise<Blocking> => {
  const domain = await WiredDomain.open(name, "routed");
  const { users } = domain;
  const honest = await users.talk({ uid: alice, ...usual, drain: 20_000 });
  const blocked = await users.talk({ uid: mallory, hold: FLOWS, every: EVERY_MS });
  const { held } = blocked.started;
  const guest = await introspect(`xen:${name}`);
  const backend = firewalls[firewall]();
  const filter = createFilter({ guest, rules: [], backend, id: name, intervalMs: INTERVAL_MS });
  await filter.start();

  const lastPassed: number[] = [];
  const applied: number[] = [];
  for (let i = 0; i < rules; i++) {
    await flows(blocked, ...held);
    await between(filter, INTERVAL_MS, (i + Math.random()) / rules);
    const since = process.hrtime.bigint();
    filter.setRules(noSshForMallory);
    while (filter.status().inForce.length === 0) await nextPoll(filter);
    applied.push(filter.status().lastApplyMs);
    let tries = 1;
    while (!(await stands(users, ...held))) if (++tries > TRIES) throw new Error(`${firewall}: not blocked`);
    for (const flow of held) lastPassed.push(Math.max(0, Number((await heard(users, flow)).last - since) / 1e6));
    filter.setRules([]);
  }

  await filter.stop();
  await blocked.exit("reset");
  const bytesOfOthers = (await honest.report()).held.reduce((sum, { sent }) => sum + sent, 0);
  const lost = await lostBy(users, honest);
  await guest.close();
  await domain.close();
  return { lastPassed: spread(lastPassed), applied: spread(applied), bytesOfOthers, lost };
});
