import { patternKey } from "../../rules/pattern-key.ts";
import { assorted, connection, excepted, innocent, overlapping, packetOf } from "./patterns.ts";
import { fail, refused, sameResult, type Trial, waysToBlock } from "./trial.ts";

/** What a backend holds when it was told to. */

export async function opensWithoutAChange(trial: Trial): Promise<void> {
  const backend = await trial.subject.create();
  const unopened = "Only a backend that was opened knows its guest: reject";
  await refused(trial.put(backend, []), "`reconcile` resolved before `open`", unopened);
  await refused(trial.inspect(backend), "`inspect` resolved before `open`", unopened);
  await trial.open(backend);
  await trial.expectHeld(backend, [], "after it was opened for a guest that nobody filtered before");
  await backend.close({ keep: true });
  await refused(trial.put(backend, []), "`reconcile` resolved after `close`", unopened);
}

export async function holdsAPlan(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  const patterns = assorted(backend.capabilities);
  const [way] = waysToBlock(backend.capabilities);
  const when = "after a plan was put in force";
  sameResult(await trial.put(backend, patterns), { added: patterns }, when);
  const { bites, problems } = await trial.inspect(backend);
  if (!bites || problems.length > 0) fail(`${when}, \`inspect\` says that it does not bite: ${problems.join("; ")}`);
  await trial.expectHeld(backend, patterns, when);
  await trial.expectEffect(patterns, when, { all: true });
  await trial.expectPacket(innocent(way), patterns, when);
  sameResult(await trial.put(backend, []), { removed: patterns }, "after an empty plan");
  await trial.expectHeld(backend, [], "after an empty plan");
  await trial.expectPacket(packetOf(patterns[0]!), [], "after an empty plan");
}

export async function changesNothingTwice(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  const patterns = assorted(backend.capabilities);
  await trial.put(backend, patterns);
  const when = "after the same plan was put in force again";
  sameResult(await trial.put(backend, patterns), { unchanged: patterns.length }, when);
  await trial.inspect(backend);
  sameResult(await trial.put(backend, patterns), { unchanged: patterns.length }, `${when}, with a look between`);
  await trial.expectHeld(backend, patterns, when);
}

export async function changesByWhatDiffers(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  const [way] = waysToBlock(backend.capabilities);
  const before = assorted(backend.capabilities);
  const [gone, ...stays] = before;
  const comes = connection(way, 1300);
  await trial.put(backend, before);
  const when = "after a plan that differs in two patterns";
  const after = [comes, ...stays];
  sameResult(await trial.put(backend, after), { added: [comes], removed: [gone!], unchanged: stays.length }, when);
  await trial.expectHeld(backend, after, when);
}

export async function keepsOrder(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  for (const way of waysToBlock(backend.capabilities)) {
    const { inside, outside } = overlapping(way);
    for (const patterns of [
      [inside, outside],
      [outside, inside],
      [inside, outside],
    ]) {
      await trial.put(backend, patterns);
      const when = `after a plan with "${patternKey(patterns[0]!)}" ahead of "${patternKey(patterns[1]!)}"`;
      await trial.expectHeld(backend, patterns, when);
    }
  }
}

export async function honoursExceptions(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  for (const way of waysToBlock(backend.capabilities)) {
    const { exception, wide } = excepted(way);
    const others = { ...packetOf(exception), remote: { ...packetOf(exception).remote, port: 23 } };
    if (!backend.capabilities.actions[way.direction].includes("accept")) {
      const what = `the backend stops packets of the direction "${way.direction}" and has no \`accept\` there`;
      fail(what, "Plans hold exceptions, or innocents are cut off: do it, or do not block that way");
    }
    await trial.put(backend, [exception, wide]);
    const when = "after a plan with an exception ahead of a wide pattern";
    await trial.expectHeld(backend, [exception, wide], when);
    await trial.expectPacket(others, [exception, wide], when);
    await trial.put(backend, [wide]);
    await trial.expectHeld(backend, [wide], "after its exception was taken out of a plan");
  }
}

export async function keepsGuestsApart(trial: Trial): Promise<void> {
  const other = `${trial.guest} "\n'; drop $(x) ../ é`;
  const [mine, theirs] = [await trial.agent(), await trial.agent({ guest: other })];
  const [way] = waysToBlock(mine.capabilities);
  const [a, b] = [connection(way, 1000), connection(way, 2000)];
  await trial.put(mine, [a]);
  await trial.put(theirs, [b]);
  const when = `after a plan for each of two guests, one of them called ${JSON.stringify(other)}`;
  for (const [backend, held] of [[mine, a] as const, [theirs, b] as const]) {
    const keys = await trial.keys(backend);
    if (keys.join() !== patternKey(held))
      fail(`${when}, one has "${keys.join('", "')}" in force, not "${patternKey(held)}"`);
  }
  await theirs.close({ keep: false });
  await trial.expectHeld(mine, [a], "after another guest's backend was closed");
}

/** What each pattern counted is told where the backend claims to count, and nowhere else. */
export async function counts(trial: Trial): Promise<void> {
  const backend = await trial.agent();
  const [way] = waysToBlock(backend.capabilities);
  const [counted, other] = [connection(way, 1000), connection(way, 1001)];
  await trial.put(backend, [counted]);
  const packets = async (when: string) => {
    const { patterns } = await trial.inspect(backend);
    const count = patterns.find(({ key }) => key === patternKey(counted))?.packets;
    const claims = backend.capabilities.counters;
    if (claims ? Number.isSafeInteger(count) && count! >= 0 : count === null) return count ?? 0;
    return fail(`${when}, \`packets\` of a connection is ${count}`, `\`capabilities.counters\` is ${claims}`);
  };
  const before = await packets("after it was put in force");
  if (!backend.capabilities.counters || trial.subject.passes === undefined) return;
  for (let sent = 0; sent < 3; sent++)
    await trial.expectPacket(packetOf(counted), [counted], "while packets are counted");
  const after = await packets("after three packets");
  if (after < before + 3) fail(`three packets met a pattern, and \`packets\` went from ${before} to ${after}`);
  await trial.put(backend, [counted, other]);
  const kept = await packets("after another pattern was added");
  if (kept < after) fail(`\`packets\` went back from ${after} to ${kept} when another pattern was added`);
}
