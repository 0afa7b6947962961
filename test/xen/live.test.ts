import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { XenLab } from "../../vmcore-fixtures/xen/live.ts";
import { domainRecipes } from "../../vmcore-fixtures/xen/recipes.ts";

// Domains that run, read in Dom0 by the package that is built here: a program of dom0/ for each test.

const log = (line: string) => process.stderr.write(`${line}\n`);
const abort = new AbortController();
const recipes = domainRecipes.filter(({ name }) => ["xen-pv-5.10", "xen-pv-6.1", "xen-pvh-6.1"].includes(name));
const PROGRAM_SECONDS = 600;
let lab: XenLab;

beforeAll(async () => {
  lab = await XenLab.start({ signal: abort.signal, log });
  await lab.dom0.run("ip link add guests up type bridge", 60);
  await Promise.all(recipes.map((recipe) => lab.start(recipe, { vif: ["bridge=guests"] })));
});

afterAll(async () => {
  await lab?.close();
  abort.abort();
});

const inDom0 = <T>(program: string, argument: unknown): Promise<T> =>
  lab.run<T>(`test/xen/dom0/${program}.ts`, argument, PROGRAM_SECONDS);

// Once is enough of what is the toolstack's affair, not the domain's kind: booting takes long.
const FOLLOWED = "xen-pv-6.1";

describe.each(recipes)("$name", ({ name, vcpus, megabytes }) => {
  it("is read as it says of itself, by its lists and by its registers, and its devices are known", async () => {
    const read = await inDom0<{ id: number; told: string }>("read", name);
    expect(read).toMatchObject({ format: "xen", release: read.told, differences: [], discrepancies: [] });
    expect(read).toMatchObject({ cpus: vcpus, cpuDifferences: [] });
    expect(read).toMatchObject({ cards: ["eth0"], interfaces: [`vif${read.id}.0`] });
    expect(read).toMatchObject({ kept: true, fleeting: { differences: [], kept: 0 } });
  });

  it("is paused for its walks and no longer, and stays paused when somebody else has paused it", async () => {
    type Walk = { during: boolean; after: boolean; pauseMs: number; elapsedMs: number };
    const { walks, ...others } = await inDom0<{ walks: Walk[] }>("pausing", name);
    expect(walks.map(({ during, after }) => [during, after])).toEqual([
      ...Array(3).fill([true, false]),
      ...Array(2).fill([true, true]),
    ]);
    for (const { pauseMs, elapsedMs } of walks.slice(0, 4)) expect(pauseMs).toBeGreaterThanOrEqual(elapsedMs);
    expect(walks[4]!.pauseMs).toBe(0);
    expect(others).toEqual({ after: false, ended: "PAUSE_BUDGET", theirs: true, atLast: false });
  });

  it.runIf(name === FOLLOWED)("runs on when an agent is killed that paused it", async () => {
    const inPause = { stood: true, runsOn: true };
    expect(await inDom0("killed", name)).toEqual({ inPause, runsOn: [true, true, true] });
  });

  it("is read as it is when it has given memory back and got other", async () => {
    const polls = await inDom0("ballooning", {
      name,
      megabytes: [megabytes - 48, megabytes, megabytes - 48, megabytes],
    });
    expect(polls).toEqual(Array(4).fill({ reached: true, mappedAnew: true, differences: [] }));
  });

  it.runIf(name === FOLLOWED)("is followed by its name when it reboots, and by its id it has ended", async () => {
    const moved = { differences: [], idEnded: "SOURCE_GONE", moved: true, left: [] };
    expect(await inDom0("rebooting", name)).toEqual(moved);
  });

  it.runIf(name === FOLLOWED)("refuses who may not, and what is no domain", async () => {
    const codes = { name: "SOURCE_NOT_FOUND", id: "SOURCE_NOT_FOUND", dom0: "SOURCE_NOT_FOUND" };
    expect(await inDom0("refused", name)).toEqual({ ...codes, nobody: "SOURCE_PERMISSION" });
  });

  it("is gone for everybody when it is destroyed, also while it is read, and is held by nobody", async () => {
    expect(await inDom0("destroyed", name)).toEqual({ codes: ["SOURCE_GONE", "SOURCE_GONE"], left: [] });
  });
});
