import { introspect } from "xfilter-core";
import { differencesFromTruth } from "../../live/truth.ts";
import { leftOf, listed, liveDomain, xl } from "./domain.ts";
import { program } from "./program.ts";

await program(async (name: string) => {
  const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  const { id } = await listed(name);
  await guest.snapshot();
  await xl("save", name, "/tmp/saved");
  const left = await leftOf(id);
  const gone = await guest.snapshot().catch(({ code }) => code);
  await xl("restore", "/tmp/saved");
  const differences = await differencesFromTruth(liveDomain(name), guest);
  await guest.close();
  return { left, gone, differences, moved: (await listed(name)).id !== id };
});
