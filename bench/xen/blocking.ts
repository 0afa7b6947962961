import { setTimeout as sleep } from "node:timers/promises";
import { introspect } from "xfilter-core";
import { createFilter } from "xfilter-core/filter";
import { flows, heard, lostBy, stands } from "../../test/filter/observing.ts";
import { type Firewall, firewalls } from "../../test/xen/dom0/firewalls.ts";
import { program } from "../../test/xen/dom0/program.ts";
import { WiredDomain } from "../../test/xen/dom0/wired-domain.ts";
import { alice, busy, mallory, noSshForMallory, usual } from "../../vmcore-fixtures/lab-users.ts";
import { type Spread, spread } from "../measure.ts";

export interface Rounds {
  readonly name: string;
  readonly firewall: Firewall;
  readonly intervalMs: number;
  /** In each, two connections of one user are blocked, and flow again. */
  readonly rounds: number;
}

export interface Blocking {
  /** Milliseconds from the rules to the last byte of each connection that arrived outside; 0: none did. */
  readonly lastPassed: Spread;
  /** Milliseconds that the filter waited for the firewall to change, which goes on a while after it bites. */
  readonly applied: Spread;
  readonly polls: number;
  /** Polls that were left out because one before took longer than the interval. */
  readonly missedPolls: number;
  /** What another user of the domain sent on his connections, and what of it was lost. */
  readonly bytesOfOther: number;
  readonly lost: readonly string[];
}

/** Rules come at any time of this: polls follow each other in it, and one of them looks at what the firewall holds. */
const CYCLE_MS = 5_000;
/** So often a second is waited for in which nothing arrives. */
const TRIES = 10;

// A user's connections that are there when rules about him come, from then to their last byte.
await program(async ({ name, firewall, intervalMs, rounds }: Rounds): Promise<Blocking> => {
  const domain = await WiredDomain.open(name, "routed");
  const { users } = domain;
  const honest = await users.talk({ uid: alice, hold: usual.hold, drain: 20_000 });
  const blocked = await users.talk({ uid: mallory, ...busy });
  const { held } = blocked.started;
  const guest = await introspect(`xen:${name}`);
  const filter = createFilter({ guest, rules: [], backend: firewalls[firewall](), id: name, intervalMs });
  await filter.start();

  const lastPassed: number[] = [];
  const applied: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await flows(blocked, ...held);
    await sleep(Math.random() * CYCLE_MS);
    const since = process.hrtime.bigint();
    filter.setRules(noSshForMallory);
    while (filter.status().inForce.length === 0) await sleep(10);
    applied.push(filter.status().lastApplyMs);
    for (let tries = 1; !(await stands(users, ...held)); tries++)
      if (tries === TRIES) throw new Error(`${firewall}: ${TRIES} seconds after the rules something arrives`);
    for (const flow of held) lastPassed.push(Math.max(0, Number((await heard(users, flow)).last - since) / 1e6));
    filter.setRules([]);
  }

  const { polls, missedPolls } = filter.status();
  await filter.stop();
  await blocked.exit("reset");
  const bytesOfOther = (await honest.report()).held.reduce((sum, { sent }) => sum + sent, 0);
  const lost = await lostBy(users, honest);
  await guest.close();
  await domain.close();
  return { lastPassed: spread(lastPassed), applied: spread(applied), polls, missedPolls, bytesOfOther, lost };
});
