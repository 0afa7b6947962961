import { introspect } from "xfilter-core";
import { differencesFromTruth } from "../../live/truth.ts";
import { listed, liveDomain, within, xl } from "./domain.ts";
import { program } from "./program.ts";

// Gives memory back and gets other, while it is attached to.
await program(async ({ name, megabytes }: { name: string; megabytes: readonly number[] }) => {
  const domain = liveDomain(name);
  const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const polls = [];
  await guest.snapshot({ details: true });
  for (const target of megabytes) {
    await xl("mem-set", name, String(target));
    const reached = await within(60, async () => Math.abs((await listed(name)).megabytes - target) <= 1);
    polls.push({ reached, differences: await differencesFromTruth(domain, guest) });
  }
  await guest.close();
  return polls;
});
