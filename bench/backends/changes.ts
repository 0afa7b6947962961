import type { RuleBackend } from "../../lib/backends/index.ts";
import type { GuestNetwork } from "../../test/backends/network.ts";
import { type Spread, spread, timed } from "../measure.ts";
import { openWith, planWith } from "./contender.ts";

/** What a backend takes for a change of so many flows with so many others in force, in milliseconds. */
export interface Change {
  readonly backend: string;
  readonly inForce: number;
  readonly changed: number;
  readonly rounds: number;
  /** To put them in force; to look at the firewall; to take them out. */
  readonly come: Spread;
  readonly look: Spread;
  readonly go: Spread;
}

export async function measureChanges(
  create: () => RuleBackend,
  network: GuestNetwork,
  inForce: number,
  changes: readonly number[],
  rounds: number,
  signal: AbortSignal,
): Promise<Change[]> {
  const backend = await openWith(inForce, create, network, signal);
  const [without, ...plans] = [0, ...changes].map((changed) => planWith(inForce + changed));
  const times = plans.map(() => ({ come: [] as number[], look: [] as number[], go: [] as number[] }));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [i, plan] of plans.entries()) {
        const { come, look, go } = times[i]!;
        come.push(await timed(() => backend.reconcile(plan, { signal })));
        look.push(await timed(() => backend.inspect({ signal })));
        go.push(await timed(() => backend.reconcile(without!, { signal })));
      }
    }
  } finally {
    await backend.close({ keep: false });
  }
  return changes.map((changed, i) => {
    const { come, look, go } = times[i]!;
    return {
      ...{ backend: backend.name, inForce, changed, rounds },
      ...{ come: spread(come), look: spread(look), go: spread(go) },
    };
  });
}
