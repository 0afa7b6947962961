import { setTimeout as sleep } from "node:timers/promises";
import { introspect } from "xfilter-core";
import { createFilter } from "xfilter-core/filter";
import { run } from "../../../vmcore-fixtures/command.ts";
import { alice, mallory, noSshForMallory, usual } from "../../../vmcore-fixtures/lab-users.ts";
import type { Attachment } from "../../../vmcore-fixtures/lab-wire.ts";
import { flows, heard, lostBy, stands } from "../../filter/observing.ts";
import { type Firewall, firewalls } from "./firewalls.ts";
import { program } from "./program.ts";
import { WiredDomain } from "./wired-domain.ts";

export interface Filtering {
  readonly name: string;
  readonly firewall: Firewall;
  readonly attachment: Attachment;
}

// Two users of a domain that talk to an outside. A rule names one of them.
await program(async ({ name, firewall, attachment }: Filtering) => {
  if (attachment === "bridged" && firewall !== "nftables") await run("modprobe", ["br_netfilter"]);
  const domain = await WiredDomain.open(name, attachment);
  const { users } = domain;

  const honest = await users.talk({ uid: alice, ...usual, drain: 20_000 });
  const blocked = await users.talk({ uid: mallory, ...usual, drain: 20_000, patience: 10_000 });
  const { held } = blocked.started;
  await flows(blocked, ...held);
  const guest = await introspect(`xen:${name}`);
  const filter = createFilter({ guest, rules: [], backend: firewalls[firewall](), id: "domain", intervalMs: 200 });
  await filter.start();
  const since = process.hrtime.bigint();
  filter.setRules(noSshForMallory);
  await sleep(3000);
  const stood = await stands(users, ...held);
  const last = (await Promise.all(held.map((flow) => heard(users, flow)))).map(
    ({ last }) => Number(last - since) / 1e6,
  );
  const web = async () => (await blocked.report()).opened.find(({ port }) => port === 80)!.done;
  const before = await web();
  await sleep(2000);
  const webOpen = (await web()) > before;
  filter.setRules([]);
  await flows(blocked, ...held.filter(({ protocol }) => protocol === "tcp"));
  const bytes = (await honest.report()).held.reduce((sum, { sent }) => sum + sent, 0);
  const lost = { alice: await lostBy(users, honest), mallory: await lostBy(users, blocked) };
  await filter.stop();
  const { polls } = filter.status();
  await guest.close();
  await domain.close();
  return { stood, webOpen, lost, bytes, polls, milliseconds: Math.round(Math.max(...last)) };
});
