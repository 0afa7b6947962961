import { introspect } from "xfilter-core";
import { differencesFromTruth } from "../../live/truth.ts";
import { listed, liveDomain, mappedPieces, within, xl } from "./domain.ts";
import { program } from "./program.ts";

// Gives memory back and gets other, while it is attached to. What is read is right by luck, too, where nothing lay in those pages: that
// they were mapped anew, in one piece, this process's own map tells.
await program(async ({ name, megabytes }: { name: string; megabytes: readonly number[] }) => {
  const domain = liveDomain(name);
  const polls = [];
  for (const target of megabytes) {
    const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
    await guest.snapshot({ details: true });
    const before = mappedPieces();
    await xl("mem-set", name, String(target));
    const reached = await within(60, async () => Math.abs((await listed(name)).megabytes - target) <= 1);
    await guest.snapshot({ details: true });
    const mappedAnew = mappedPieces() < before;
    polls.push({ reached, mappedAnew, differences: await differencesFromTruth(domain, guest) });
    await guest.close();
  }
  return polls;
});
