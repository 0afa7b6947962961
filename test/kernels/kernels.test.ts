import { beforeAll, describe, expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { type Fixture, presentFixtures } from "../../vmcore-fixtures/cache.ts";
import { buildImage } from "../../vmcore-fixtures/image.ts";
import { recipes } from "../../vmcore-fixtures/recipes.ts";
import { compare } from "./compare.ts";
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

  it.each(["elf", "raw"] as const)("reads what the guest says of itself (%s)", async (dump) => {
    const types = fixture.btf ? { types: { btf: fixture.btf } } : {};
    const guest = await introspect({ vmcore: fixture[dump]! }, types);
    try {
      const differences = compare(fixture.truth(), (await guest.snapshot()).toJSON());
      for (const difference of differences) log(`${name} ${dump}: ${difference}`);
      expect(differences).toEqual([]);
    } finally {
      await guest.close();
    }
  });
});
