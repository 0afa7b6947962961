import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { isPaused, within } from "./domain.ts";
import { program } from "./program.ts";

const agent = (name: string) => `
  import { introspect } from "xfilter-core";
  const guest = await introspect(${JSON.stringify(`xen:${name}`)}, { consistency: "pause", pauseBudgetMs: 60_000 });
  await guest.snapshot();
  console.log("pausing");
  for (;;) await guest.snapshot();`;

// An agent that is killed while it pauses the domain, each time at another moment.
await program(async (name: string) => {
  const runsOn: boolean[] = [];
  for (let i = 0; i < 4; i++) {
    const child = spawn(process.execPath, ["--input-type=module", "-e", agent(name)], {
      cwd: "/share",
      stdio: ["ignore", "pipe", "inherit"],
    });
    const gone = once(child, "close");
    const began = await Promise.race([once(child.stdout, "data").then(() => true), gone.then(() => false)]);
    if (!began) throw new Error("The agent ended");
    await sleep(7 * i);
    child.kill("SIGKILL");
    await gone;
    const unpaused = await within(10, async () => !(await isPaused(name)));
    await sleep(500);
    runsOn.push(unpaused && !(await isPaused(name))); // nobody is left to pause it
  }
  return runsOn;
});
