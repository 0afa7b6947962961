import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { patternKey } from "../../lib/rules/pattern-key.ts";
import { planOf } from "../../lib/testing/plan.ts";
import { GuardedGuest } from "./guarded-guest.ts";

// Whatever the plan: the firewall holds it, tells it, and a second time changes nothing.

const { signal } = new AbortController();

const addresses = {
  4: ["192.0.2.1", "192.0.2.2", "192.0.2.0/24", "192.0.2.128/25"],
  6: ["2001:db8::1", "::", "::ffff:192.0.2.1", "fe80::/10", "2001:db8::/127"],
};
const few = [0, 22, 53, 65535];
const port = fc.oneof(fc.constantFrom(...few), fc.integer({ min: 0, max: 65535 }));
const range = fc.tuple(port, port).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);

const anyPattern: fc.Arbitrary<FlowPattern> = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const address = fc.option(fc.constantFrom(...addresses[family]));
  return fc
    .record({
      direction: fc.constantFrom("in" as const, "out" as const),
      protocol: fc.constantFrom("tcp" as const, "udp" as const, "udplite" as const),
      local: fc.record({ address, port: fc.option(fc.constantFrom(...few)) }),
      remote: fc.record({ address, ports: fc.option(range) }),
      action: fc.constantFrom("drop" as const, "reject" as const, "accept" as const, "log" as const),
    })
    .map((pattern) => ({
      family,
      ...pattern,
      action: pattern.direction === "in" && pattern.action === "reject" ? "drop" : pattern.action,
    }));
});

/** No two for the same packets, as in a plan. */
const anyPlan = fc
  .uniqueArray(anyPattern, { selector: (pattern) => patternKey({ ...pattern, action: "drop" }), maxLength: 40 })
  .map(planOf);

describe.each([false, true])("on a kernel that is old: %s", (old) => {
  let guest: GuardedGuest;
  beforeAll(async () => {
    guest = await GuardedGuest.start({ old });
  });
  afterAll(() => guest?.close());

  it("what is held is the plan, whatever was held before, and twice is once", async () => {
    await fc.assert(
      fc.asyncProperty(anyPlan, anyPlan, async (before, plan) => {
        const { backend } = guest;
        await backend.reconcile(before, { signal });
        await backend.reconcile(plan, { signal });
        const keys = plan.patterns.map(({ key }) => key).sort();
        const held = await backend.inspect({ signal });
        expect([held.problems, held.patterns.map(({ key }) => key).sort()]).toEqual([[], keys]);
        const again = await backend.reconcile(plan, { signal });
        expect(again).toEqual({ added: [], removed: [], unchanged: keys.length, repaired: false });
      }),
      { numRuns: 30 },
    );
  });
});
