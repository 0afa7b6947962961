import { introspect } from "xfilter-core";
import { isPaused, xl } from "./domain.ts";
import { program } from "./program.ts";

await program(async (name: string) => {
  const guest = await introspect(`xen:${name}`, { consistency: "pause", pauseBudgetMs: 60_000, walkBudgetMs: 60_000 });
  const walks: { during: boolean; after: boolean; pauseMs: number; elapsedMs: number }[] = [];
  const walk = async () => {
    let during = false;
    const whilePaused = async () => {
      during = await isPaused(name);
    };
    const { quality } = await guest.snapshot({ whilePaused });
    walks.push({ during, after: await isPaused(name), pauseMs: quality.pauseMs, elapsedMs: quality.elapsedNs / 1e6 });
  };
  for (let i = 0; i < 3; i++) await walk();
  await xl("pause", name);
  await walk();
  await xl("unpause", name);
  await guest.close();
  return { walks, after: await isPaused(name) };
});
