import { beforeAll, describe, expect, it } from "vitest";
import { type Guest, introspect } from "../../lib/index.ts";
import { buildCores, type Core, presentCores } from "../../vmcore-fixtures/xen/cores.ts";
import { domainRecipes, usualDomains } from "../../vmcore-fixtures/xen/recipes.ts";
import { compare } from "../kernels/compare.ts";
import { cpuDifferences } from "../kernels/cpus.ts";
import { networkDifferences } from "../kernels/networks.ts";

const log = (line: string) => process.stderr.write(`${line}\n`);
// What takes long to build is held to its truth where it was built.
const present = presentCores().map(({ name }) => name);
const domains = domainRecipes.filter((recipe) => usualDomains.includes(recipe) || present.includes(recipe.name));
let cores: Core[];

beforeAll(async () => {
  const names = domains.map(({ name }) => name);
  cores = await buildCores(names, { force: false, signal: new AbortController().signal, log });
});

describe.each(domains)("$name", (recipe) => {
  const core = () => cores.find(({ name }) => name === recipe.name)!;

  async function withGuest(body: (guest: Guest) => Promise<void>): Promise<void> {
    const guest = await introspect({ vmcore: core().core }, { walkBudgetMs: 60_000 });
    try {
      await body(guest);
    } finally {
      await guest.close();
    }
  }

  it("reads what the domain says of itself", async () => {
    await withGuest(async (guest) => {
      expect(guest.kernel.format).toBe("xen");
      expect(guest.kernel.release).toBe(core().truth().guest.release);
      const snapshot = (await guest.snapshot({ details: true })).toJSON();
      const differences = compare(core().truth(), snapshot);
      for (const difference of differences) log(`${recipe.name}: ${difference}`);
      expect(differences).toEqual([]);
      expect(snapshot.discrepancies).toEqual([]);
    });
  });

  it("knows each network namespace, and each address that a socket of it has as one of its devices'", async () => {
    await withGuest(async (guest) => {
      const { networkNamespaces } = await guest.snapshot();
      expect(networkDifferences(core().truth(), networkNamespaces)).toEqual([]);
    });
  });

  it("tells what each CPU ran, and that its list is init_task's", async () => {
    await withGuest(async (guest) => {
      const [cpus, snapshot] = await Promise.all([guest.cpus(), guest.snapshot()]);
      expect(cpuDifferences(core().truth(), cpus, snapshot)).toEqual([]);
      expect(cpus).toHaveLength(recipe.vcpus);
    });
  });
});
