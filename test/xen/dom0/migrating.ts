import { rm, symlink } from "node:fs/promises";
import { introspect } from "xfilter-core";
import { differencesFromTruth } from "../../live/truth.ts";
import { leftOf, listed, liveDomain, xl } from "./domain.ts";
import { program } from "./program.ts";

/** What the other host's xl would run; here it is the same host. */
const RECEIVER = "xl migrate-receive";

// Away from its id while it runs, and its name goes with it.
await program(async (name: string) => {
  const { id } = await listed(name);
  const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const byId = await introspect(`xen:${id}`, { walkBudgetMs: 60_000 });
  await Promise.all([guest.snapshot(), byId.snapshot()]);
  await xl("migrate", "-s", "", name, RECEIVER);
  // Xenconsoled's log of it has the name that it came with.
  const domain = liveDomain(name);
  await rm(domain.log);
  await symlink(`guest-${name}--incoming.log`, domain.log);
  const left = await leftOf(id);
  const differences = await differencesFromTruth(domain, guest);
  const idGone = await byId.snapshot().catch(({ code }) => code);
  await Promise.all([guest.close(), byId.close()]);
  return { left, idGone, differences, moved: (await listed(name)).id !== id };
});
