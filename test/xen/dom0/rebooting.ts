import { introspect } from "xfilter-core";
import { differencesFromTruth } from "../../live/truth.ts";
import { leftOf, listed, liveDomain, xl } from "./domain.ts";
import { program } from "./program.ts";

await program(async (name: string) => {
  const domain = liveDomain(name);
  const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const { id } = await listed(name);
  const byId = await introspect(`xen:${id}`);
  await Promise.all([guest.snapshot(), byId.snapshot()]);
  const from = domain.said();
  await xl("reboot", name);
  await domain.booted(from, 600);
  const idEnded = await byId.snapshot().catch(({ code }) => code);
  const differences = await differencesFromTruth(domain, guest);
  const left = await leftOf(id);
  await Promise.all([guest.close(), byId.close()]);
  return { differences, idEnded, moved: (await listed(name)).id !== id, left };
});
