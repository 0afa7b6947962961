import { randomUUID } from "node:crypto";
import * as agents from "./agents.ts";
import * as changing from "./changing.ts";
import * as holding from "./holding.ts";
import type { BackendUnderTest, ConformanceCase } from "./subject.ts";
import { Trial } from "./trial.ts";

type Work = (trial: Trial) => Promise<void>;

/**
 * What every backend has to do, as cases for any test runner; the name of each says what. They make guests of their own, and take out
 * again what they put in force.
 *
 *     for (const { name, skip, run } of backendConformance({ create: () => myBackend() })) {
 *       test(name, { skip: skip ?? false }, run);
 *     }
 */
export function backendConformance(subject: BackendUnderTest): readonly ConformanceCase[] {
  const { passes, breakNextChange, disturbances = {}, outlivesAgent = true } = subject;
  const run = randomUUID().slice(0, 8);
  const outlives = outlivesAgent ? null : "what is told to it ends with the object (outlivesAgent)";
  const seen = passes ? null : "what becomes of packets cannot be seen (passes)";
  const broken = breakNextChange ? null : "the firewall cannot be made to fail (breakNextChange)";
  const cases: [name: string, work: Work, skip?: string | null][] = [
    ["is opened without a change, and works only while it is open", holding.opensWithoutAChange],
    ["holds each kind of pattern that it can, and lets all go for an empty plan", holding.holdsAPlan],
    ["changes nothing for the plan that it holds", holding.changesNothingTwice],
    ["changes by what differs", holding.changesByWhatDiffers],
    ["keeps the order in which patterns decide", holding.keepsOrder],
    ["honours exceptions", holding.honoursExceptions],
    ["keeps guests apart, whatever they are called", holding.keepsGuestsApart],
    ["counts packets if it says so", holding.counts],
    ["holds the old plan or the new one when a change is aborted", changing.isWholeWhenAborted],
    ["holds the old plan or the new one when the firewall fails", changing.isWholeWhenItFails, broken],
    ["shows others the old plan or the new one while it changes", changing.neverShowsAHalf, outlives],
    ["lets nothing by that both plans stop while it changes", changing.leavesNoGap, seen],
    ["leaves what is in force when it is closed to keep it", agents.leavesWhatIsKept, outlives],
    ["takes all out when it is closed to keep nothing", agents.takesAllOut],
    ["is opened again for another boot", agents.isOpenedAgain],
    ["adopts what an earlier agent of the guest left", agents.adopts, outlives],
    ["tells what others put in and took out, and repairs it", agents.tellsWhatOthersDid, outlives],
    ["lets go when its lease ends, if it says so", agents.leaseEnds, outlives],
    ...Object.entries(disturbances).map(([name, disturb]): [string, Work] => [
      `notices and repairs: ${name}`,
      agents.repairs(name, disturb),
    ]),
  ];
  return cases.map(([name, work, skip = null], index) => ({
    name,
    skip,
    run: async () => {
      const trial = new Trial(subject, `conformance ${run} ${index}`);
      try {
        await work(trial);
      } finally {
        await trial.end();
      }
    },
  }));
}
