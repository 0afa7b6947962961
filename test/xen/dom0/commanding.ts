import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../../vmcore-fixtures/command.ts";
import { alice, mallory, noSshForMallory, usual } from "../../../vmcore-fixtures/lab-users.ts";
import { flows, lostBy, stands } from "../../filter/observing.ts";
import { listed } from "./domain.ts";
import { program } from "./program.ts";
import { WiredDomain } from "./wired-domain.ts";

const COMMAND = "/share/node_modules/xfilter-core/dist/cli/main.js";

/** `xfilter filter`, when it has said that it blocks TCP. */
async function filtering(target: string, rules: string, state: string): Promise<ChildProcess> {
  const words = [COMMAND, "filter", target, "--rules", rules, "--state", state];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve, reject) => {
    let said = "";
    child.once("exit", (code) => reject(new Error(`xfilter ended with ${code}: ${said}`)));
    child.stdout.on("data", (text: Buffer) => {
      said += text;
      if (said.includes(" + drop out tcp ")) resolve();
    });
  });
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  const exit = once(child, "exit");
  child.kill(signal);
  const [code] = await exit;
  return code as number | null;
}

// The command in Dom0, with a file of rules: killed, asked for what it left, cleared; started again, and ended by Ctrl-C.
await program(async (name: string) => {
  const target = `xen:${name}`;
  const state = await mkdtemp("/tmp/state-");
  const rules = join(state, "users.rules");
  await writeFile(rules, noSshForMallory.map((rule) => `${rule}\n`).join(""));
  const xfilter = async (...words: string[]) =>
    (await run(process.execPath, [COMMAND, ...words, "--state", state])).toString().trim();

  const domain = await WiredDomain.open(name, "routed");
  const { users } = domain;
  const honest = await users.talk({ uid: alice, ...usual, drain: 20_000 });
  const blocked = await users.talk({ uid: mallory, hold: ["tcp4:22"], drain: 20_000 });
  const { held } = blocked.started;

  await end(await filtering(target, rules, state), "SIGKILL");
  const left = JSON.parse(await xfilter("status", target, "--json"));
  const standsOn = await stands(users, ...held);
  const cleared = await xfilter("clear", target);
  await flows(blocked, ...held);

  const again = await filtering(target, rules, state);
  const standsAgain = await stands(users, ...held);
  const code = await end(again, "SIGINT");
  await flows(blocked, ...held);
  const nothing = await xfilter("status", target);

  const lost = [...(await lostBy(users, honest)), ...(await lostBy(users, blocked))];
  const vif = `vif${(await listed(name)).id}.0`;
  await domain.close();
  return { standsOn, left, vif, cleared, standsAgain, code, nothing, lost };
});
