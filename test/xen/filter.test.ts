import { afterAll, beforeAll, expect, it } from "vitest";
import { mallory } from "../../vmcore-fixtures/lab-users.ts";
import { XenLab } from "../../vmcore-fixtures/xen/live.ts";
import { domainRecipes } from "../../vmcore-fixtures/xen/recipes.ts";
import { startUsersDomain } from "../../vmcore-fixtures/xen/users-domain.ts";
import type { Filtering } from "./dom0/filtering.ts";

// The thesis's filter: a domain's users, told apart in Dom0 by the domain's memory, and Dom0's firewall at its vif.

interface Filtered {
  readonly lost: { readonly alice: string[]; readonly mallory: string[] };
  readonly bytes: number;
  readonly polls: number;
  readonly milliseconds: number;
}

const log = (line: string) => process.stderr.write(`${line}\n`);
const abort = new AbortController();
const recipe = { ...domainRecipes.find(({ name }) => name === "xen-pv-6.1")!, name: "users" };
let lab: XenLab;

beforeAll(async () => {
  lab = await XenLab.start({ signal: abort.signal, log });
  await startUsersDomain(lab, recipe);
});

afterAll(async () => {
  await lab?.close();
  abort.abort();
});

it.each<Omit<Filtering, "name">>([
  { firewall: "nftables", attachment: "routed" },
  { firewall: "nftables", attachment: "bridged" },
  { firewall: "iptables-nft", attachment: "routed" },
  { firewall: "iptables-nft", attachment: "bridged" },
  { firewall: "iptables-legacy", attachment: "routed" },
])(
  "a rule about a user of a domain that is $attachment stops his connections by $firewall, and costs nobody else a byte",
  async ({ firewall, attachment }) => {
    const filtering: Filtering = { name: recipe.name, firewall, attachment };
    const filtered = await lab.run<Filtered>("test/xen/dom0/filtering.ts", filtering, 600);
    const { lost, bytes, milliseconds, polls } = filtered;
    log(`${firewall}, ${attachment}: in force ${milliseconds} ms after the rule, ${polls} polls`);
    log(`${firewall}, ${attachment}: of alice's ${bytes} bytes ${lost.alice.length === 0 ? "none" : "some"} is lost`);
    expect(filtered).toMatchObject({ stood: true, webOpen: true, lost: { alice: [] } });
    expect(bytes).toBeGreaterThan(0);
    expect(lost.mallory.filter((line) => line.includes("to port 80"))).toEqual([]);
  },
);

it("the command leaves what is in force when it is killed, tells of it and clears it, and takes out its own at Ctrl-C", async () => {
  type Commanded = { vif: string; left: object; bytes: number };
  const { vif, left, bytes, ...commanded } = await lab.run<Commanded>("test/xen/dom0/commanding.ts", recipe.name, 600);
  expect(left).toMatchObject({ guest: "xen:users", backend: "nftables", agent: null, interfaces: [vif] });
  expect(left).toHaveProperty("patterns.0.owner.uid", mallory);
  expect(bytes).toBeGreaterThan(0);
  expect(commanded).toEqual({
    ...{ standsOn: true, cleared: "cleared xen:users: 1 pattern", standsAgain: true },
    ...{ code: 0, nothing: "nothing is in force", lost: [] },
  });
});

// Here, as the poses of the others do not stand being frozen for it.
it("a domain is followed by its name when it was saved and is restored", async () => {
  const followed = { left: [], gone: "SOURCE_GONE", differences: [], moved: true };
  expect(await lab.run("test/xen/dom0/saving.ts", recipe.name, 600)).toEqual(followed);
});

// Contained by hardware: Debian's Xen cannot watch what a paravirtual domain writes meanwhile.
it("a domain is followed by its name when it migrates, and by its id it has gone", async () => {
  const mover = { ...domainRecipes.find(({ name }) => name === "xen-pvh-6.1")!, name: "mover" };
  await lab.start(mover, { workload: "lab" });
  const followed = { left: [], idGone: "SOURCE_GONE", differences: [], moved: true };
  expect(await lab.run("test/xen/dom0/migrating.ts", mover.name, 600)).toEqual(followed);
});
