import { expect, it } from "vitest";
import { dryRun } from "../../../lib/backends/index.ts";
import { planOf } from "../../../lib/testing/plan.ts";
import { pattern } from "../../backends/plan.ts";

it("the dry run tells what differs from what it told before, and changes nothing", async () => {
  const { signal } = new AbortController();
  const lines: string[] = [];
  const backend = dryRun({ write: (line) => lines.push(line) });
  const told = () => lines.splice(0);
  await expect(backend.inspect({ signal })).rejects.toMatchObject({ code: "CLOSED" });
  await backend.open({ id: "vm", bootId: "1", interfaces: [] }, { signal, leaseMs: null });
  const [a, b] = [pattern(), pattern({ local: { port: 2 } })];
  const first = await backend.reconcile(planOf([a, b]), { signal });
  expect([first.added.length, told()]).toEqual([
    2,
    [
      "+ out tcp4 10.1.0.2:1000 10.1.0.1:22 drop (rule 0, matched)",
      "+ out tcp4 10.1.0.2:2 10.1.0.1:22 drop (rule 0, matched)",
    ],
  ]);
  await backend.reconcile(planOf([b]), { signal });
  expect(told()).toEqual(["- out tcp4 10.1.0.2:1000 10.1.0.1:22 drop"]);
  expect(await backend.reconcile(planOf([b]), { signal })).toEqual({
    added: [],
    removed: [],
    unchanged: 1,
    repaired: false,
  });
  const { patterns, bites } = await backend.inspect({ signal });
  expect([patterns, bites]).toEqual([[{ ...b, key: "out tcp4 10.1.0.2:2 10.1.0.1:22 drop", packets: null }], true]);
  await backend.close({ keep: true });
  expect(told()).toEqual([]);
});
