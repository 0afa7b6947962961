import { introspect } from "xfilter-core";
import { isPaused, xl } from "./domain.ts";
import { program } from "./program.ts";

await program(async (name: string) => {
  const guest = await introspect(`xen:${name}`, { consistency: "pause", pauseBudgetMs: 60_000, walkBudgetMs: 60_000 });
  const walks: { during: boolean; after: boolean; pauseMs: number; elapsedMs: number }[] = [];
  const walk = async (meanwhile = async () => {}) => {
    let during = false;
    const whilePaused = async () => {
      during = await isPaused(name);
      await meanwhile();
    };
    const { quality } = await guest.snapshot({ whilePaused });
    walks.push({ during, after: await isPaused(name), pauseMs: quality.pauseMs, elapsedMs: quality.elapsedNs / 1e6 });
  };
  for (let i = 0; i < 3; i++) await walk();
  // Somebody else's pauses: one during ours, and the next walk is within it.
  await walk(async () => void (await xl("pause", name)));
  await walk();
  await xl("unpause", name);
  const after = await isPaused(name);
  // And somebody else ends ours: what was read is not believed, and no second unpause is left over for the next pause of theirs.
  const ended = await guest
    .snapshot({ whilePaused: async () => void (await xl("unpause", name)) })
    .catch(({ code }) => code);
  await xl("pause", name);
  const theirs = await isPaused(name);
  await xl("unpause", name);
  await guest.close();
  return { walks, after, ended, theirs, atLast: await isPaused(name) };
});
