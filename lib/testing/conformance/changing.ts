import type { RuleBackend } from "../../backends/backend.ts";
import type { FlowPattern } from "../../rules/pattern.ts";
import { patternKey } from "../../rules/pattern-key.ts";
import { connections, packetOf } from "./patterns.ts";
import { equalKeys, fail, refused, type Trial, waysToBlock } from "./trial.ts";

/** How a backend gets from one plan to the next: in one step, or not at all. */

const ADVICE = "A change is all or nothing: make it one transaction, or what replaces the old in one step";
/** How often a change is watched, or aborted at another moment of the time that it takes. */
const CHANGES = 12;
const MAX_LOOKING_MS = 10_000;

interface Change {
  readonly backend: RuleBackend;
  /** Who looks: another agent's backend, where it sees what this one does. */
  readonly witness: RuleBackend;
  readonly before: readonly FlowPattern[];
  readonly after: readonly FlowPattern[];
  /** In both. */
  readonly shared: FlowPattern;
}

async function prepare(trial: Trial): Promise<Change> {
  const backend = await trial.agent();
  const witness = trial.subject.outlivesAgent === false ? backend : await trial.agent();
  const [way] = waysToBlock(backend.capabilities);
  const all = connections(way, 1000, 36);
  const change = { backend, witness, before: all.slice(0, 24), after: all.slice(12), shared: all[12]! };
  await trial.put(backend, change.before);
  return change;
}

/** Which of the two plans is in force: one of them is. */
async function heldNow(trial: Trial, { witness, before, after }: Change, when: string) {
  const keys = await trial.keys(witness);
  const held = [before, after].find((patterns) => equalKeys(keys, patterns.map(patternKey)));
  return (
    held ?? fail(`${when}, ${keys.length} patterns are in force that are neither the old plan nor the new one`, ADVICE)
  );
}

/** `done`: it has to be the later one. */
async function expectOneOf(trial: Trial, change: Change, done: boolean, when: string): Promise<void> {
  const held = await heldNow(trial, change, when);
  if (done && held !== change.after) fail(`${when}, and resolved, the old plan is in force`);
  const { before, shared } = change;
  for (const pattern of [before[0]!, shared]) await trial.expectPacket(packetOf(pattern), held, when);
}

export async function neverShowsAHalf(trial: Trial): Promise<void> {
  const change = await prepare(trial);
  const { backend, witness, before, after } = change;
  if (witness === backend) return;
  for (let i = 0; i < CHANGES; i++) {
    const work = trial.put(backend, i % 2 === 0 ? after : before);
    await untilDone(work, () => heldNow(trial, change, "while a plan is replaced"));
    await work;
  }
}

export async function leavesNoGap(trial: Trial): Promise<void> {
  const { backend, before, after, shared } = await prepare(trial);
  const packet = packetOf(shared);
  const when = "while a plan is replaced by one that has it, too";
  // A packet may take long to be sent.
  const end = performance.now() + MAX_LOOKING_MS;
  const look = async () => {
    if (performance.now() < end) await trial.expectPacket(packet, [shared], when);
  };
  for (let i = 0; i < CHANGES && performance.now() < end; i++) {
    const work = trial.put(backend, i % 2 === 0 ? after : before);
    await untilDone(work, look);
    await work;
  }
}

export async function isWholeWhenAborted(trial: Trial): Promise<void> {
  const change = await prepare(trial);
  const { backend, before, after } = change;
  const aborted = AbortSignal.abort(new Error("aborted by the conformance kit"));
  const ignored = "`reconcile` resolved with a signal that was aborted before";
  await refused(trial.put(backend, after, aborted), ignored, "Look at the signal before anything is changed");
  await trial.expectHeld(change.witness, before, "after a change with a signal that was aborted before");
  const start = performance.now();
  await trial.put(backend, after);
  const milliseconds = performance.now() - start;
  const moments = [
    ...Array.from({ length: CHANGES }, (_, turns) => () => turnsOfTheLoop(turns)),
    ...Array.from({ length: CHANGES }, (_, i) => () => sleep((milliseconds * i) / CHANGES)),
  ];
  for (const moment of moments) {
    await trial.put(backend, before);
    const controller = new AbortController();
    const work = settled(trial.put(backend, after, controller.signal));
    await moment();
    controller.abort(new Error("aborted by the conformance kit"));
    await expectOneOf(trial, change, await work, "after a change that was aborted on its way");
  }
  await trial.put(backend, after);
  await trial.expectHeld(change.witness, after, "after a change that followed aborted ones");
}

export async function isWholeWhenItFails(trial: Trial): Promise<void> {
  const change = await prepare(trial);
  await trial.subject.breakNextChange!(trial.guest);
  const done = await settled(trial.put(change.backend, change.after));
  await expectOneOf(trial, change, done, "after a change in which the firewall failed");
  await trial.put(change.backend, change.after);
  await trial.expectHeld(change.witness, change.after, "after the change was tried again");
}

/** Looks again and again until the work has ended, however it does. */
async function untilDone(work: Promise<unknown>, look: () => Promise<unknown>): Promise<void> {
  const ended = settled(work);
  let running = true;
  void ended.then(() => {
    running = false;
  });
  try {
    for (let looks = 0; running; looks++) {
      await look();
      // Between the steps of work that waits for nothing, and without keeping from its turn what does.
      await (looks % 4 === 3 ? new Promise(setImmediate) : null);
    }
  } finally {
    await ended;
  }
}

/** Whether it resolves. */
function settled(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

async function turnsOfTheLoop(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await null;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
