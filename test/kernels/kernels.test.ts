import { beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect } from "../../lib/index.ts";
import { type Fixture, presentFixtures } from "../../vmcore-fixtures/cache.ts";
import { buildImage } from "../../vmcore-fixtures/image.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { compare } from "./compare.ts";
import { cpuDifferences } from "./cpus.ts";
import { networkDifferences } from "./networks.ts";
import { selectedNames } from "./selection.ts";

const selected = process.env.XFILTER_KERNELS?.split(",") ?? selectedNames([], new Date());

const log = (line: string) => process.stderr.write(`${line}\n`);

async function presentOrBuilt(name: string): Promise<Fixture> {
  const recipe = recipes.find((candidate) => candidate.name === name)!;
  const signal = new AbortController().signal;
  return presentFixtures([name])[0] ?? (await buildImage(recipe, { force: false, signal, log }));
}

describe.each(selected)("%s", (name) => {
  let fixture: Fixture;
  beforeAll(async () => {
    fixture = await presentOrBuilt(name);
  });

  async function withGuest(dump: "elf" | "raw", body: (guest: Guest) => Promise<void>): Promise<void> {
    const types = fixture.btf ? { types: fixture.btf } : {};
    // An image that is not in the page cache comes from the disk, page by page.
    const guest = await introspect({ vmcore: fixture[dump]! }, { ...types, walkBudgetMs: 60_000 });
    try {
      await body(guest);
    } finally {
      await guest.close();
    }
  }

  it.each(["elf", "raw"] as const)("reads what the guest says of itself (%s)", async (dump) => {
    await withGuest(dump, async (guest) => {
      const snapshot = (await guest.snapshot({ details: true })).toJSON();
      const differences = compare(fixture.truth(), snapshot);
      for (const difference of differences) log(`${name} ${dump}: ${difference}`);
      expect(differences).toEqual([]);
      // Nobody hides anything in these guests, and they stand still.
      expect(snapshot.discrepancies).toEqual([]);
    });
  });

  it("knows each network namespace, and each address that a socket of it has as one of its devices'", async () => {
    await withGuest("elf", async (guest) => {
      const { networkNamespaces } = await guest.snapshot();
      expect(networkDifferences(fixture.truth(), networkNamespaces)).toEqual([]);
    });
  });

  it("tells what each CPU ran, and that its list is init_task's", async () => {
    await withGuest("elf", async (guest) => {
      const [cpus, snapshot] = await Promise.all([guest.cpus(), guest.snapshot()]);
      expect(cpuDifferences(fixture.truth(), cpus, snapshot)).toEqual([]);
      expect(cpus).toHaveLength(recipes.find((recipe) => recipe.name === name)!.cpus);
    });
  });
});
