import { toJsonSchema } from "@valibot/to-json-schema";
import { describe, expect, it } from "vitest";
import { ruleDocument, ruleObject } from "../../../lib/rules/rule-object.ts";
import { parseRule, parseRules } from "../../../lib/rules/schema.ts";

/** The message that a rule is refused with. */
function refusal(rule: unknown): string {
  try {
    parseRule(rule);
  } catch (error) {
    expect(error).toMatchObject({ code: "ERR_INVALID_RULE" });
    return (error as Error).message;
  }
  return "taken";
}

describe("rules", () => {
  it("are a list, or an object with one, of objects and texts", () => {
    const text = "deny tcp from any to any 22 out uid 1003";
    const [rule] = parseRules([text]);
    expect(parseRules({ rules: [text, rule] })).toEqual([rule, rule]);
  });
  it("come from JSON, with the start as decimal text and the time as people write it", () => {
    const json = '[{ "action": "drop", "pid": { "pid": 7, "startTime": "12345678901234567890" }, "for": "10m" }]';
    expect(parseRules(JSON.parse(json))).toEqual([
      { action: "drop", pid: { pid: 7, startTime: 12345678901234567890n }, forMs: 600_000 },
    ]);
  });
  it("are kept in their canonical form", () => {
    const written = {
      ...{ action: "drop", uid: [1003], descendants: false, localPort: [{ from: 5, to: 5 }], comment: "  so " },
      remoteAddress: ["2001:DB8:0::", "192.0.2.7/32"],
    };
    expect(parseRule(written)).toEqual({
      ...{ action: "drop", uid: 1003, localPort: 5, comment: "so", remoteAddress: ["2001:db8::", "192.0.2.7"] },
    });
  });
  it("are not changed where they are given", () => {
    const written = Object.freeze({ action: "drop", uid: Object.freeze([1003]) });
    expect(parseRule(written)).toEqual({ action: "drop", uid: 1003 });
  });

  it.each([
    [{}, "rule.action: is missing"],
    [{ action: "deny" }, "rule.action: is none of drop"],
    [{ action: "drop", localPort: 65536 }, "rule.localPort: is not a port"],
    [{ action: "drop", localPort: "22" }, "rule.localPort: is neither a port"],
    [{ action: "drop", localPort: [22, -1] }, "rule.localPort[1]: is not a port"],
    [{ action: "drop", localPort: { from: 9, to: 8 } }, "rule.localPort: ends before it begins"],
    [{ action: "drop", localPort: [] }, "rule.localPort: is an empty list"],
    [{ action: "drop", uid: 2 ** 32 }, "rule.uid: is not an id"],
    [{ action: "drop", uid: 1.5 }, "rule.uid: is not an id"],
    [{ action: "drop", pid: 0 }, "rule.pid: is not a pid"],
    [{ action: "drop", pid: { pid: 7, startTime: "now" } }, "rule.pid: is neither a pid, { pid, startTime }"],
    [{ action: "drop", comm: "0123456789abcdef" }, "rule.comm: is longer than 15 bytes"],
    [{ action: "drop", comm: "äääääääß" }, "rule.comm: is longer than 15 bytes"],
    [{ action: "drop", cgroup: "user.slice" }, "rule.cgroup: is not the path"],
    [{ action: "drop", descendants: true }, "rule.descendants: needs `pid`"],
    [{ action: "drop", remoteAddress: "localhost" }, "rule.remoteAddress: is no address"],
    [{ action: "drop", remoteAddress: "10.0.0.1/8" }, 'write "10.0.0.0/8"'],
    [{ action: "drop", remoteAddress: "10.0.0.0/33" }, "is no address or network"],
    [{ action: "drop", remoteAddress: "010.0.0.1" }, "is no address"],
    [{ action: "drop", remoteAddress: "::ffff:192.0.2.7" }, 'write "192.0.2.7"'],
    [{ action: "drop", remoteAddress: "1::2::3" }, "is no address"],
    [
      { action: "drop", localAddress: "192.0.2.7", remoteAddress: "2001:db8::1" },
      "rule.remoteAddress: is of the other IP",
    ],
    [{ action: "drop", forMs: 0 }, "rule.forMs: is not a time"],
    [{ action: "drop", for: "soon" }, 'rule.for: is not a time such as "500ms"'],
    [{ action: "drop", for: "0s" }, "rule.for: is not from"],
    [{ action: "drop", for: "10m", forMs: 1 }, "give one of them"],
    [{ action: "drop", comment: "a\nb" }, "rule.comment: holds control characters"],
    [{ action: "drop", UID: 1 }, "rule.UID: is not known: `uid` is"],
    [{ action: "drop", remote_port: 1 }, "`remotePort` is"],
    [{ action: "drop", user: 1 }, "rule.user: is not known: a rule has action, pid"],
    [7, "rule: is not a rule"],
    [null, "rule: is not a rule"],
  ])("refuse %j", (rule, why) => {
    expect(refusal(rule)).toContain(why);
  });
  it("are refused with all that is wrong, not the first alone", () => {
    const message = () => parseRules([{ action: "drop", x: 1, y: 2, uid: -1 }, "deny", { action: 7 }]);
    expect(message).toThrow(TypeError);
    for (const path of ["rules[0].x", "rules[0].y", "rules[0].uid", "rules[1]: column 5", "rules[2].action"]) {
      expect(message).toThrow(path);
    }
  });
  it("have no list of more than a thousand entries", () => {
    expect(refusal({ action: "drop", uid: Array(1000).fill(1) })).toBe("taken");
    expect(refusal({ action: "drop", uid: Array(1001).fill(1) })).toContain("rule.uid: has more than 1000");
  });
  it("are a RangeError where only values are wrong", () => {
    expect(() => parseRule({ action: "drop", localPort: 70_000 })).toThrow(RangeError);
  });
  it.each([[undefined], ["deny"], [{ rule: [] }], [{ rules: {} }], [{ rules: [], more: 1 }]])(
    "have to be a list",
    (rules) => {
      expect(() => parseRules(rules)).toThrow(TypeError);
    },
  );
  it("are ten thousand at most", () => {
    expect(() => parseRules(Array(10_001).fill("deny ip from any to any"))).toThrow(RangeError);
  });
});

it("docs/rules.schema.json is the schema", async () => {
  const schema = toJsonSchema(ruleDocument, {
    typeMode: "input",
    definitions: { rule: ruleObject },
    // JSON has no bigint: there, the decimal text. What no JSON Schema can say is said by parseRules alone.
    errorMode: "ignore",
    overrideSchema: ({ valibotSchema }) => (valibotSchema.type === "bigint" ? { not: {} } : undefined),
  });
  await expect(`${JSON.stringify(schema, null, 2)}\n`).toMatchFileSnapshot("../../../docs/rules.schema.json");
});
