import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../../vmcore-fixtures/command.ts";
import { alice, mallory, noSshForMallory, usual } from "../../../vmcore-fixtures/lab-users.ts";
import { flows, lostBy, stands } from "../../filter/observing.ts";
import { listed, within } from "./domain.ts";
import { program } from "./program.ts";
import { WiredDomain } from "./wired-domain.ts";

const COMMAND = "/share/node_modules/xfilter-core/dist/cli/main.js";

interface Status {
  readonly agent: number | null;
  readonly patterns: readonly { readonly owner?: { readonly uid: number } }[];
}

/** How many processes filter, and whom it tells of: what was in force before it was asked may not be in its answer yet. */
const tells = ({ agent, patterns }: Status) => [agent !== null, ...patterns.map(({ owner }) => owner?.uid)].join();

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode === null && child.kill(signal)) await once(child, "exit");
  return child.exitCode;
}

// The command in Dom0, with a file of rules: killed, asked for what it left, cleared; started again, and ended by Ctrl-C.
await program(async (name: string) => {
  const target = `xen:${name}`;
  const state = await mkdtemp("/tmp/state-");
  const rules = join(state, "users.rules");
  await writeFile(rules, noSshForMallory.map((rule) => `${rule}\n`).join(""));
  const words = (...all: string[]) => [COMMAND, ...all, "--state", state];
  const xfilter = async (...all: string[]) => (await run(process.execPath, words(...all))).toString().trim();
  const status = async () => JSON.parse((await xfilter("status", target, "--json")) || "null") as Status | null;
  /** While it filters, and until it is ended. */
  const filtering = async <T>(body: (child: ChildProcess) => Promise<T>): Promise<T> => {
    const child = spawn(process.execPath, words("filter", target, "--rules", rules), {
      stdio: ["ignore", 2, "inherit"],
    });
    try {
      const known = await within(
        120,
        async () => tells((await status()) ?? { agent: null, patterns: [] }) === `true,${mallory}`,
      );
      if (!known) throw new Error(`${JSON.stringify(await status())}, and ${child.exitCode ?? "it runs"}`);
      return await body(child);
    } finally {
      await end(child, "SIGKILL");
    }
  };

  const domain = await WiredDomain.open(name, "routed");
  const { users } = domain;
  const honest = await users.talk({ uid: alice, ...usual, drain: 20_000 });
  const blocked = await users.talk({ uid: mallory, hold: ["tcp4:22"], drain: 20_000 });
  const { held } = blocked.started;
  await flows(blocked, ...held);

  await filtering((child) => end(child, "SIGKILL"));
  const left = await status();
  const standsOn = await stands(users, ...held);
  const cleared = await xfilter("clear", target);
  await flows(blocked, ...held);

  const [standsAgain, code] = await filtering(async (child) => [
    await stands(users, ...held),
    await end(child, "SIGINT"),
  ]);
  await flows(blocked, ...held);
  const nothing = await xfilter("status", target);

  const bytes = (await honest.report()).held.reduce((sum, { sent }) => sum + sent, 0);
  const lost = [...(await lostBy(users, honest)), ...(await lostBy(users, blocked))];
  const vif = `vif${(await listed(name)).id}.0`;
  await domain.close();
  return { standsOn, left, vif, cleared, standsAgain, code, nothing, bytes, lost };
});
