import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flowKey } from "../../../lib/rules/pattern-key.ts";
import { widenedPlan } from "../../../lib/rules/plan.ts";
import { parseRule, parseRules } from "../../../lib/rules/schema.ts";
import { writtenRule } from "./arbitrary-rule.ts";

const keys = (rules: string[], neverBlock: string[] = []) =>
  widenedPlan(parseRules(rules), neverBlock).patterns.map(({ key }) => key);

describe("a plan without who", () => {
  it("holds for everybody", () => {
    const { patterns, unenforceable } = widenedPlan(parseRules(["deny tcp from any to any 22 out uid 1003 comm ssh"]));
    expect(patterns.map(({ key }) => key)).toEqual(["out tcp4 *:* *:22 drop", "out tcp6 *:* *:22 drop"]);
    expect(patterns[0]).toMatchObject({ rule: 0, owner: null, sock: null, reason: "widened" });
    expect(unenforceable).toEqual([]);
  });
  it("lets nobody go for whom it takes to be told from others", () => {
    const rules = [
      "allow tcp from any to any uid 1001",
      "log tcp from any to any uid 1001",
      "deny tcp from any to 192.0.2.7 out",
    ];
    expect(keys(rules)).toEqual(["out tcp4 *:* 192.0.2.7:* drop"]);
    expect(keys(["allow tcp from any to 192.0.2.7 out", "deny tcp from any to 0.0.0.0/0 out"])).toEqual([
      "out tcp4 *:* 192.0.2.7:* accept",
      "out tcp4 *:* *:* drop",
    ]);
  });
  it("decides by the first rule at each end of the guest that rules name", () => {
    const rules = ["allow tcp from 192.0.2.0/24 to any in", "deny tcp from 0.0.0.0/0 to any 80,81 in uid 1003"];
    expect(keys(rules)).toEqual([
      ...["in tcp4 *:80 192.0.2.0/24:* accept", "in tcp4 *:80 *:* drop"],
      ...["in tcp4 *:81 192.0.2.0/24:* accept", "in tcp4 *:81 *:* drop"],
      "in tcp4 *:* 192.0.2.0/24:* accept",
    ]);
  });
  it("is wider where no firewall has such a pattern, but lets nothing more go", () => {
    expect(keys(["deny tcp from 10.0.0.0/8 to any out"])).toEqual(["out tcp4 *:* *:* drop"]);
    expect(keys(["deny tcp from 10.0.2.15 1-2000 to any out"])).toEqual(["out tcp4 10.0.2.15:* *:* drop"]);
    expect(keys(["allow tcp from 10.0.0.0/8 to any out"])).toEqual([]);
  });
  it("keeps open what is never to be blocked", () => {
    expect(keys(["deny tcp from any to any out uid 1"], ["192.0.2.0/24"])).toEqual([
      "out tcp4 *:* 192.0.2.0/24:* accept",
      "out tcp4 *:* *:* drop",
      "out tcp6 *:* *:* drop",
    ]);
  });
  it("names less of the ends where there is no room for all of them, and lets nothing more go", () => {
    const rules = parseRules([
      "allow tcp from any 80 to 198.51.100.0/24 out",
      "deny tcp from 10.0.2.15 1-9 to 192.0.2.7,192.0.2.8 22 out uid 1003",
    ]);
    const within = (maxFlows: number) => widenedPlan(rules, ["192.0.2.7"], maxFlows).patterns.map(({ key }) => key);
    expect(within(100)).toContain("out tcp4 10.0.2.15:9 192.0.2.8:22 drop");
    expect(within(10)).toEqual([
      ...["out tcp4 *:80 192.0.2.7:* accept", "out tcp4 *:80 198.51.100.0/24:* accept"],
      ...["out tcp4 *:80 192.0.2.7:22 drop", "out tcp4 *:80 192.0.2.8:22 drop"],
      ...["out tcp4 *:* 192.0.2.7:* accept", "out tcp4 *:* 192.0.2.7:22 drop", "out tcp4 *:* 192.0.2.8:22 drop"],
    ]);
    const least = ["out tcp4 *:* 192.0.2.7:* accept", "out tcp4 *:* *:* drop"];
    expect(within(6)).toEqual(least);
    expect(within(1)).toEqual(least);
  });
  it("holds no two patterns for the same packets, and blocks nothing that no rule does", () => {
    fc.assert(
      fc.property(fc.array(writtenRule, { maxLength: 3 }), (written) => {
        const rules = written.map((rule) => parseRule({ ...rule, localPort: undefined, descendants: undefined }));
        const { patterns } = widenedPlan(rules);
        expect(new Set(patterns.map(flowKey)).size).toBe(patterns.length);
        for (const { rule, action } of patterns) expect(rules[rule!]!.action).toBe(action);
      }),
    );
  });
});
