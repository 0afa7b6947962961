import { patternKey } from "../../rules/pattern-key.ts";
import { assorted, connection, connections, packetOf } from "./patterns.ts";
import { equalKeys, fail, sameResult, type Trial, waysToBlock } from "./trial.ts";

/** What becomes of what is in force when agents come and go, and when others change it. */

const LEASE_MS = 1_000;
/** Longer than any backend rounds a lease up to. */
const MAX_LEASE_MS = 20_000;

export async function leavesWhatIsKept(trial: Trial): Promise<void> {
  const first = await trial.agent();
  const patterns = assorted(first.capabilities);
  await trial.put(first, patterns);
  await first.close({ keep: true });
  const when = "after the backend was closed, to keep what is in force,";
  await trial.expectEffect(patterns, when);
  await trial.expectHeld(await trial.agent(), patterns, `${when} and another agent was started`);
}

export async function takesAllOut(trial: Trial): Promise<void> {
  const first = await trial.agent();
  const patterns = assorted(first.capabilities);
  await trial.put(first, patterns);
  await first.close({ keep: false });
  const when = "after the backend was closed, to keep nothing,";
  await trial.expectPacket(packetOf(patterns[0]!), [], when);
  await trial.expectHeld(await trial.agent(), [], `${when} and another agent was started`);
}

/** As a filter does when the guest boots anew. */
export async function isOpenedAgain(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  const [way] = waysToBlock(backend.capabilities);
  const [old, stays, comes] = connections(way, 1000, 3);
  await trial.put(backend, [old!, stays!]);
  await backend.close({ keep: true });
  await trial.open(backend, { bootId: "another boot" });
  const when = "after the backend was opened again for another boot of the guest";
  if (trial.subject.outlivesAgent !== false) await trial.expectHeld(backend, [old!, stays!], when);
  await trial.put(backend, [stays!, comes!]);
  await trial.expectHeld(backend, [stays!, comes!], `${when}, and a plan`);
  await trial.expectPacket(packetOf(old!), [], `${when}, and a plan`);
}

export async function adopts(trial: Trial): Promise<void> {
  const first = await trial.agent();
  const [way] = waysToBlock(first.capabilities);
  const [old, stays, comes] = connections(way, 1000, 3);
  await trial.put(first, [old!, stays!]);
  await first.close({ keep: true });

  const second = await trial.agent({ bootId: "another boot" });
  const opened = "after another agent was started where one had left its patterns";
  await trial.expectHeld(second, [old!, stays!], opened);
  const when = `${opened}, and its first plan`;
  sameResult(await trial.put(second, [stays!, comes!]), { added: [comes!], removed: [old!], unchanged: 1 }, when);
  await trial.expectHeld(second, [stays!, comes!], when);
  await trial.expectPacket(packetOf(old!), [], when);
  await second.close({ keep: false });

  const third = await trial.agent();
  await trial.expectHeld(third, [], `${when}, and its end`);
  await trial.expectPacket(packetOf(stays!), [], `${when}, and its end`);
}

export async function tellsWhatOthersDid(trial: Trial): Promise<void> {
  const [mine, somebody] = [await trial.agent(), await trial.agent()];
  const [way] = waysToBlock(mine.capabilities);
  const [gone, stays, foreign] = connections(way, 1000, 3);
  await trial.put(mine, [gone!, stays!]);
  await trial.put(somebody, [stays!, foreign!]);
  const when = "after somebody else took a pattern out and put another one in";
  await trial.expectHeld(mine, [stays!, foreign!], when);
  const repair = await trial.put(mine, [gone!, stays!]);
  sameResult(repair, { added: [gone!], removed: [foreign!], unchanged: 1, repaired: true }, `${when}, and a plan`);
  await trial.expectHeld(mine, [gone!, stays!], `${when}, and a plan`);
}

/** One of the author's disturbances. */
export function repairs(name: string, disturb: (guest: string) => void | Promise<void>) {
  return async (trial: Trial): Promise<void> => {
    const backend = await trial.agent();
    const patterns = assorted(backend.capabilities);
    await trial.put(backend, patterns);
    await disturb(trial.guest);
    const when = `after "${name}"`;
    const { bites, patterns: held } = await trial.inspect(backend);
    const keys = held.map(({ key }) => key);
    if (bites && equalKeys(keys, patterns.map(patternKey)))
      fail(`${when}, \`inspect\` says that nothing is the matter`);
    const { repaired } = await trial.put(backend, patterns);
    if (!repaired) fail(`${when}, and the plan again, \`repaired\` is false`);
    await trial.expectHeld(backend, patterns, `${when}, and the plan again`);
    const after = await trial.inspect(backend);
    if (!after.bites) fail(`${when}, and the plan again, it does not bite: ${after.problems.join("; ")}`);
  };
}

export async function leaseEnds(trial: Trial): Promise<void> {
  const backend = await trial.subject.create();
  if (!backend.capabilities.leases) return;
  await trial.open(backend, { leaseMs: LEASE_MS });
  const [way] = waysToBlock(backend.capabilities);
  const pattern = connection(way, 1000);
  const inForce = async () => {
    const { bites, patterns } = await trial.inspect(backend);
    return bites && patterns.length > 0;
  };
  // Where the host is busy, a lease may have ended before it can be seen.
  const until = async (wanted: boolean, work: () => Promise<unknown>, problem: string) => {
    const start = performance.now();
    await work();
    while ((await inForce()) !== wanted) {
      if (performance.now() - start > MAX_LEASE_MS) fail(`${problem} after ${MAX_LEASE_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, LEASE_MS / 10));
      await work();
    }
  };
  const renew = () => trial.put(backend, [pattern]);
  await until(true, renew, "nothing was in force with a lease");
  await until(false, async () => {}, `a lease of ${LEASE_MS} ms has not ended`);
  await trial.expectPacket(packetOf(pattern), [], "after a lease ended");
  await until(true, renew, "nothing was in force again after a lease was renewed");
}
