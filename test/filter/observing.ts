import { setTimeout as sleep } from "node:timers/promises";
import type { FilterEvent } from "../../lib/filter/index.ts";
import type { XFilterErrorCode } from "../../lib/index.ts";
import { type Heard, type Held, losses } from "../../vmcore-fixtures/lab-report.ts";
import type { LabUsers, Talker } from "../../vmcore-fixtures/lab-users.ts";

/** What arrived outside of a flow. */
export async function heard(guest: LabUsers, { flow }: Held): Promise<Pick<Heard, "bytes" | "gaps" | "last">> {
  return (await guest.outside.report()).heard.find((heard) => heard.flow === flow) ?? { bytes: 0, gaps: 0, last: 0n };
}

export const arrived = async (guest: LabUsers, flow: Held) => (await heard(guest, flow)).bytes;

/** Resolves when more of each flow has come back to its sender than now. */
export async function flows(talker: Talker, ...held: readonly Held[]): Promise<void> {
  const echoed = async () => {
    const report = await talker.report();
    return held.map(({ flow }) => report.held.find((held) => held.flow === flow)!.echoed);
  };
  const before = await echoed();
  const all = async () => (await echoed()).every((bytes, index) => bytes > before[index]!);
  for (const start = performance.now(); !(await all()); await sleep(200))
    if (performance.now() - start > 60_000)
      throw new Error(`Nothing more of ${talker.started.uid} came back: ${before}`);
}

/** Whether nothing of the flows arrives for a second, in which everybody else's does. */
export async function stands(guest: LabUsers, ...held: readonly Held[]): Promise<boolean> {
  const bytes = () => Promise.all(held.map((flow) => arrived(guest, flow)));
  const before = await bytes();
  await sleep(1000);
  return (await bytes()).join() === before.join();
}

/** What somebody lost of all that he sent, until now. */
export async function lostBy(guest: LabUsers, talker: Talker): Promise<string[]> {
  const last = await talker.stop();
  return losses(last, await guest.outside.report());
}

export async function event(events: AsyncIterator<FilterEvent>, type: FilterEvent["type"]): Promise<FilterEvent> {
  for (;;) {
    const { done, value } = await events.next();
    if (done) throw new Error(`The filter ended without "${type}".`);
    if (value.type === type) return value;
  }
}

/** There may be others before it: a plan that could not be put in force meanwhile. */
export async function failure(events: AsyncIterator<FilterEvent>, code: XFilterErrorCode): Promise<void> {
  for (;;) {
    const failed = await event(events, "failed");
    if (failed.type === "failed" && failed.error.code === code) return;
  }
}

/** Resolves when the rules are in force at this device. */
export async function rebound(events: AsyncIterator<FilterEvent>, tap: string): Promise<void> {
  for (;;) {
    const told = await event(events, "rebound");
    if (told.type === "rebound" && told.interfaces.some(({ name }) => name === tap)) return;
  }
}
