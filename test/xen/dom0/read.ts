import { introspect } from "xfilter-core";
import { cpuDifferences } from "../../kernels/cpus.ts";
import { differencesFromTruth } from "../../live/truth.ts";
import { listed, liveDomain, mappedPieces } from "./domain.ts";
import { program } from "./program.ts";

/** What is read by a guest that keeps no page mapped, and how many it has mapped between its walks. */
async function readFleetingly(name: string) {
  const before = mappedPieces();
  const guest = await introspect(`xen:${name}`, { keepMappings: false, walkBudgetMs: 60_000 });
  try {
    const differences = await differencesFromTruth(liveDomain(name), guest);
    return { differences, kept: mappedPieces() - before };
  } finally {
    await guest.close();
  }
}

// All that is read of a domain that runs, against what it says of itself; and the thesis's way, by the registers, against the list.
await program(async (name: string) => {
  const domain = liveDomain(name);
  const guest = await introspect(`xen:${name}`, { walkBudgetMs: 60_000 });
  try {
    const differences = await differencesFromTruth(domain, guest);
    const [truth, snapshot, cpus] = [await domain.truth(), await guest.snapshot(), await guest.cpus()];
    const devices = snapshot.networkNamespaces.flatMap(({ devices }) => devices ?? []);
    return {
      ...{ format: guest.kernel.format, release: guest.kernel.release, told: truth.guest.release },
      ...{ differences, discrepancies: snapshot.toJSON().discrepancies },
      ...{ cpus: cpus.length, cpuDifferences: cpuDifferences(truth, cpus, snapshot) },
      cards: devices.filter(({ physical }) => physical).map(({ name }) => name),
      interfaces: (await guest.interfaces()).map(({ name }) => name),
      id: (await listed(name)).id,
      kept: mappedPieces() > 0,
      fleeting: await readFleetingly(name),
    };
  } finally {
    await guest.close();
  }
});
