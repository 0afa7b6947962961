import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseRule, parseRules } from "../../../lib/rules/schema.ts";
import { formatRule } from "../../../lib/rules/text.ts";
import { writtenRule } from "./arbitrary-rule.ts";

describe("the one-line form", () => {
  it("reads what ipfw's users write", () => {
    expect(parseRule("deny tcp from any to any 22 out uid 1003")).toEqual({
      ...{ action: "drop", protocol: "tcp", remotePort: 22, direction: "out", uid: 1003 },
    });
  });
  it.each([
    ["deny", "drop"],
    ["drop", "drop"],
    ["reject", "reject"],
    ["allow", "accept"],
    ["accept", "accept"],
    ["pass", "accept"],
    ["log", "log"],
    ["DENY", "drop"],
  ])("takes %s for the action %s", (word, action) => {
    expect(parseRule(`${word} ip from any to any`)).toEqual({ action });
  });
  it("takes the guest's end for the source, and of what enters for the destination", () => {
    const ends = { localAddress: "10.0.2.15", localPort: 8080, remoteAddress: "192.0.2.0/24", remotePort: 443 };
    expect(parseRule("deny ip from 10.0.2.15 8080 to 192.0.2.0/24 443")).toEqual({ action: "drop", ...ends });
    expect(parseRule("deny ip from 10.0.2.15 8080 to 192.0.2.0/24 443 out")).toMatchObject(ends);
    expect(parseRule("deny ip from 192.0.2.0/24 443 to 10.0.2.15 8080 in")).toMatchObject(ends);
  });
  it("reads every option", () => {
    const text =
      "log tcp,udp from any 1-1023,8080 to 2001:db8::/32,fe80::1 uid 1,2 process-uid 3 socket-uid 4 login-uid 5 gid 6 pid 7@123,8" +
      ' comm ssh,"a b" cgroup /user.slice/* netns 4026531840 state listen,ESTABLISHED descendants for 10m // until Monday';
    expect(parseRule(text)).toEqual({
      ...{ action: "log", protocol: ["tcp", "udp"], localPort: [{ from: 1, to: 1023 }, 8080] },
      ...{ remoteAddress: ["2001:db8::/32", "fe80::1"], uid: [1, 2], processUid: 3, socketUid: 4, loginUid: 5, gid: 6 },
      ...{ pid: [{ pid: 7, startTime: 123n }, 8], comm: ["ssh", "a b"], cgroup: "/user.slice/*", netns: 4026531840 },
      ...{ state: ["LISTEN", "ESTABLISHED"], descendants: true, forMs: 600_000, comment: "until Monday" },
    });
  });
  it("allows blanks around commas, and takes // within a word for a part of it", () => {
    expect(parseRule("deny tcp , udp from any to any 22 ,80 cgroup /a//b")).toMatchObject({
      ...{ protocol: ["tcp", "udp"], remotePort: [22, 80], cgroup: "/a//b" },
    });
  });
  it.each([
    ["", 1, "an action"],
    ["block tcp from any to any", 1, 'not "block"'],
    ["deny tcp any to any", 10, '"from" is expected'],
    ["deny tcp from any to", 21, "and the rule ends"],
    ["deny tcp from any to any 22-", 26, "a port"],
    ["deny tcp from any to any 22 sideways", 29, "one of in, out"],
    ["deny tcp from any to any uid mallory", 30, "a number"],
    ["deny tcp from any to any uid 1,", 32, "a number"],
    ["deny tcp from any to any uid 1 gid 2 uid 3", 38, "is there already"],
    ["deny tcp from any to any in out", 29, "is there already"],
    ['deny tcp from any to any comm "ssh', 31, "a quoted text that ends"],
    ["deny tcp from any to any constructor", 26, "one of in"],
    ["constructor tcp from any to any", 1, "an action"],
    ["deny tcp from any to any 22 # ssh", 29, 'begins with "//"'],
    ["deny tcp from any to any port 22", 26, "as a number"],
  ])("says of %j what is expected in column %i", (text, column, what) => {
    expect(() => parseRule(text)).toThrow(`rule: column ${column}: `);
    expect(() => parseRule(text)).toThrow(what);
  });
  it("names the rule and the member where a value cannot be", () => {
    const rules = [
      "deny tcp from any to any 22 out uid 1003",
      "deny tcp from any to any 99999",
      "deny tcp from 10.0.0.1/8 to any",
    ];
    expect(() => parseRules(rules)).toThrow(
      /rules\[1\]\.remotePort: .*\n.*rules\[2\]\.localAddress: .*"10\.0\.0\.0\/8"/,
    );
  });
  it.each(['comm ""', 'comm ssh,""', 'cgroup ""'])("refuses %s, which would be a rule for everybody", (empty) => {
    expect(() => parseRule(`deny tcp from any to any ${empty}`)).toThrow("rule.c");
  });
  it.each(["70000", "99999999999", "22-70000"])("says of port %s how far ports go", (port) => {
    expect(() => parseRule(`deny tcp from any to any ${port}`)).toThrow("0 to 65535");
  });
  it("is printed in its canonical form", () => {
    const rule = parseRule({
      uid: [1003],
      remotePort: { from: 22, to: 22 },
      protocol: "tcp",
      direction: "out",
      action: "drop",
    });
    expect(formatRule(rule)).toBe("deny tcp from any to any 22 out uid 1003");
    expect(formatRule({ ...rule, direction: "in" })).toBe("deny tcp from any 22 to any in uid 1003");
    expect(formatRule({ action: "accept", comm: "a b", forMs: 90_000, comment: "x" })).toBe(
      'allow ip from any to any comm "a b" for 90s // x',
    );
  });
  it("reads back as the same rule", () => {
    fc.assert(
      fc.property(writtenRule, (written) => {
        const rule = parseRule(written);
        const text = formatRule(rule);
        expect(parseRule(text)).toEqual(rule);
        expect(formatRule(parseRule(text))).toBe(text);
      }),
      { numRuns: 500 },
    );
  });
});
