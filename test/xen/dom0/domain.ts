import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../../vmcore-fixtures/command.ts";
import { type ListedDomain, parseList } from "../../../vmcore-fixtures/xen/listed-domain.ts";
import { LiveDomain } from "../../../vmcore-fixtures/xen/live-domain.ts";

export async function xl(...words: string[]): Promise<string> {
  return (await run("xl", words)).toString();
}

export const list = async (): Promise<ListedDomain[]> => parseList(await xl("list"));

export async function listed(name: string): Promise<ListedDomain> {
  const found = (await list()).find((domain) => domain.name === name);
  if (!found) throw new Error(`There is no domain ${name}`);
  return found;
}

/** Resolves when the domain is gone, or 20 seconds have passed, with what is left of it: who attached lets go of it only when he hears of its end. */
export async function leftOf(id: number): Promise<ListedDomain[]> {
  const left = async () => (await list()).filter((domain) => domain.id === id);
  await within(20, async () => (await left()).length === 0);
  return left();
}

/** How many mappings of domains' pages this process has: one for each call that made one and was not undone. */
export function mappedPieces(): number {
  const lines = readFileSync("/proc/self/maps", "latin1").split("\n");
  return lines.filter((line) => line.endsWith("/dev/xen/privcmd")).length;
}

export const isPaused = async (name: string): Promise<boolean> => (await listed(name)).state.includes("p");

export const liveDomain = (name: string) => new LiveDomain(name, "/share", (script) => run("bash", ["-c", script]));

/** Whether it comes true in so many seconds. */
export async function within(seconds: number, condition: () => Promise<boolean>): Promise<boolean> {
  for (const start = performance.now(); ; await sleep(200)) {
    if (await condition()) return true;
    if (performance.now() - start > seconds * 1000) return false;
  }
}
