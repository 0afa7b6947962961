import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { isPaused, within } from "./domain.ts";
import { program } from "./program.ts";

const agent = (name: string, whilePaused: string, then: string) => `
  import { introspect } from "xfilter-core";
  const guest = await introspect(${JSON.stringify(`xen:${name}`)}, { consistency: "pause", pauseBudgetMs: 60_000 });
  const whilePaused = async () => { ${whilePaused} };
  for (;;) {
    await guest.snapshot({ whilePaused });
    ${then}
  }`;
const STANDING = ['console.log("pausing"); await new Promise(() => setInterval(() => {}, 1000));', ""] as const;
const AGAIN_AND_AGAIN = ["", 'console.log("pausing");'] as const;

/** Whether the domain stood when the agent was killed, and whether it runs on. */
async function killed(name: string, [whilePaused, then]: readonly [string, string], milliseconds: number) {
  const words = ["--input-type=module", "-e", agent(name, whilePaused, then)];
  const child = spawn(process.execPath, words, { cwd: "/share", stdio: ["ignore", "pipe", "inherit"] });
  const gone = once(child, "close");
  const began = await Promise.race([once(child.stdout, "data").then(() => true), gone.then(() => false)]);
  if (!began) throw new Error("The agent ended");
  const stood = then === "" && (await isPaused(name));
  await sleep(milliseconds);
  child.kill("SIGKILL");
  await gone;
  // Sooner than its budget would end the pause.
  const unpaused = await within(20, async () => !(await isPaused(name)));
  await sleep(500);
  return { stood, runsOn: unpaused && !(await isPaused(name)) }; // nobody is left to pause it
}

// An agent that is killed in a pause of the domain, and another one wherever it is in going from one to the next.
await program(async (name: string) => {
  const inPause = await killed(name, STANDING, 0);
  const runsOn: boolean[] = [];
  for (let i = 0; i < 3; i++) runsOn.push((await killed(name, AGAIN_AND_AGAIN, 7 * i)).runsOn);
  return { inPause, runsOn };
});
