import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect } from "../../lib/index.ts";
import { type LiveGuest, startLive } from "../../vmcore-fixtures/live.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { type ChurnTally, walkUnderChurn } from "./tally.ts";

const log = (line: string) => process.stderr.write(`${line}\n`);

describe.each([
  { name: "linux-6.1", ram: "shared-file" },
  { name: "linux-7.2", ram: "private" },
] as const)("$name with $ram memory, while its users churn", ({ name, ram }) => {
  const abort = new AbortController();
  let live: LiveGuest;
  let guest: Guest;
  let tally: ChurnTally;

  beforeAll(async () => {
    const recipe = recipes.find((candidate) => candidate.name === name)!;
    live = await startLive(recipe, { ram, signal: abort.signal });
    guest = await introspect({ qemu: { qmp: live.qmp } });
    tally = await walkUnderChurn(live, guest, { walks: 2000, seconds: 30 });
    const { examples, elapsed: _, ...counts } = tally;
    log(`${name}, ${ram}: ${JSON.stringify(counts)}`);
    for (const example of examples) log(`${name}, ${ram}: ${example}`);
  });

  afterAll(async () => {
    await guest?.close();
    await live?.close();
    abort.abort();
  });

  it("churned, and was walked over many times", () => {
    expect(tally.walks).toBeGreaterThan(50);
    expect(tally.processes).toBeGreaterThan(500);
    expect(tally.errors).toEqual({});
  });

  it("gives nobody's port to another", () => {
    expect(tally.findings.falseAttributions).toEqual({ total: 0, walks: 0 });
  });

  it("misses nothing that stays", () => {
    expect(tally.findings.missing).toEqual({ total: 0, walks: 0 });
  });

  it("takes no process for hidden because it comes or goes", () => {
    expect(tally.findings.discrepancies).toEqual({ total: 0, walks: 0 });
  });
});
