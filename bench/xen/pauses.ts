import { introspect } from "xfilter-core";
import { program } from "../../test/xen/dom0/program.ts";
import { spread } from "../measure.ts";

export interface Polling {
  readonly name: string;
  readonly polls: number;
}

// How long a domain stands for a poll by the library, whose guard pauses it: a process of its own, asked for each pause. In milliseconds.
await program(async ({ name, polls }: Polling) => {
  const guest = await introspect(`xen:${name}`, { consistency: "pause", pauseBudgetMs: 60_000, walkBudgetMs: 60_000 });
  await guest.snapshot(); // maps what the others find mapped
  const pauses: number[] = [];
  for (let i = 0; i < polls; i++) pauses.push((await guest.snapshot()).quality.pauseMs);
  await guest.close();
  return spread(pauses);
});
