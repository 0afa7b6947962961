import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { iptables, type RuleBackend } from "../../../lib/backends/index.ts";
import { readDevice } from "../../../lib/backends/interface.ts";
import { changesBetween } from "../../../lib/backends/iptables/changes.ts";
import { chainNames } from "../../../lib/backends/iptables/frame.ts";
import { readListing, readSaved } from "../../../lib/backends/iptables/listing.ts";
import {
  chainsOfGuest,
  guestComment,
  guestOfChain,
  guestOfRule,
  logPrefix,
} from "../../../lib/backends/iptables/names.ts";
import { type KeyedPattern, readRule, ruleText } from "../../../lib/backends/iptables/rule.ts";
import type { FlowPattern } from "../../../lib/rules/pattern.ts";
import { patternKey } from "../../../lib/rules/pattern-key.ts";
import { pattern, planOf } from "../../backends/plan.ts";

const { signal } = new AbortController();
const CHAINS = chainsOfGuest("vm1");

describe("names", () => {
  it("of chains fit what iptables takes, and tell their guest", () => {
    for (const name of chainNames(CHAINS)) {
      expect(name).toMatch(/^xfilter_[0-9a-z]{13}_\w{1,2}$/);
      expect(name.length).toBeLessThanOrEqual(28);
      expect(guestOfChain(name)).toBe(CHAINS);
    }
    expect(["FORWARD", "xfilter_theirs", `${CHAINS}_x`].map(guestOfChain)).toEqual([null, null, null]);
  });

  it("of guests end no comment and no prefix, and are read back, whatever they are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (guest) => {
        const comment = guestComment(guest);
        expect(comment).toMatch(/^"(?:[ !#-&(-[\]-~]|\\[\\'])*"$/);
        expect(comment.length).toBeLessThan(256);
        expect(guestOfRule(`-m comment --comment ${comment}`)).not.toBe(null);
        expect(logPrefix("out", guest)).toMatch(/^"xfilter out [\w.:/@-]{0,15}: "$/);
      }),
    );
    expect(guestOfRule(`-m comment --comment ${guestComment('it\'s "1"')}`)).toBe("it's \\x221\\x22");
    expect(guestOfRule('-m comment --comment "theirs"')).toBe(null);
  });
});

const port = fc.oneof(fc.constantFrom(0, 22, 65535), fc.integer({ min: 0, max: 65535 }));
const range = fc.tuple(port, port).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
const addresses = {
  4: ["192.0.2.1", "192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0"],
  6: ["2001:db8::1", "::", "::ffff:192.0.2.1", "fe80::/10", "::/0"],
};
const anyPattern: fc.Arbitrary<FlowPattern> = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const address = fc.option(fc.constantFrom(...addresses[family]));
  return fc.record({
    family: fc.constant(family),
    direction: fc.constantFrom("in", "out"),
    protocol: fc.constantFrom("tcp", "udp", "udplite"),
    local: fc.record({ address, port: fc.option(port) }),
    remote: fc.record({ address, ports: fc.option(range) }),
    action: fc.constantFrom("drop", "reject", "accept", "log"),
  });
});

describe("a pattern", () => {
  it("is one rule, that reads as the same pattern", () => {
    fc.assert(
      fc.property(anyPattern, (given) => {
        const text = ruleText(given, CHAINS);
        const read = readRule(text, given, CHAINS);
        expect(read?.key).toBe(patternKey(given));
        expect(ruleText(read!, CHAINS)).toBe(text);
      }),
    );
  });

  it.each([
    [pattern(), "-s 10.1.0.2/32 -d 10.1.0.1/32 -p tcp -m tcp --sport 1000 --dport 22 -j DROP"],
    [
      pattern({ direction: "in", action: "reject" }),
      "-s 10.1.0.1/32 -d 10.1.0.2/32 -p tcp -m tcp --sport 22 --dport 1000 -j REJECT --reject-with tcp-reset",
    ],
    [
      pattern({ protocol: "udplite", action: "accept", remote: { address: null, ports: [1, 9] } }),
      "-s 10.1.0.2/32 -p udplite -m multiport --sports 1000 -m multiport --dports 1:9 -j RETURN",
    ],
    [
      pattern({ family: 6, protocol: "udp", action: "reject", local: { address: null, port: null } }),
      "-d 2001:db8:1::1/128 -p udp -m udp --dport 22 -j REJECT --reject-with icmp6-port-unreachable",
    ],
    [
      pattern({ action: "log", remote: { address: null, ports: [0, 65535] } }),
      `-s 10.1.0.2/32 -p tcp -m tcp --sport 1000 -g ${CHAINS}_og`,
    ],
  ])("%j is the rule that iptables prints", (given, text) => expect(ruleText(given, CHAINS)).toBe(text));

  it.each([
    "-s 10.1.0.2/32 -p tcp -m tcp --sport 1000:1001 -j DROP",
    "! -s 10.1.0.2/32 -p tcp -j DROP",
    "-s 10.1.0.2/32 -p tcp -m mark --mark 1 -j DROP",
    "-s 10.1.0.2/32 -p tcp -m tcp ! --sport 1000 -j DROP",
    "-p udp -j DROP",
    "-p tcp -j ACCEPT",
    "-p tcp -g RETURN",
    "-p tcp -j REJECT --reject-with icmp-admin-prohibited",
    "-p tcp",
    "",
  ])("is not what somebody else wrote: %s", (text) => {
    expect(readRule(text, { direction: "out", family: 4, protocol: "tcp" }, CHAINS)).toBe(undefined);
  });

  it("reads back where protocols have no names, either", () => {
    const flow = { direction: "out", family: 4, protocol: "udplite" } as const;
    expect(readRule("-p 136 -m multiport --dports 22 -j DROP", flow, CHAINS)?.remote.ports).toEqual([22, 22]);
  });
});

it("of two orders only what differs is written, and makes the one the other", () => {
  const keyed = (key: number) => ({ key: String(key) }) as KeyedPattern;
  const list = fc.uniqueArray(fc.integer({ min: 0, max: 20 }));
  fc.assert(
    fc.property(list, list, (before, after) => {
      const { gone, come } = changesBetween(before.map(keyed), after.map(keyed));
      const held = before.map(keyed);
      for (const number of gone) held.splice(number - 1, 1);
      for (const { at, rule } of come) held.splice(at - 1, 0, rule as KeyedPattern);
      expect(held.map(({ key }) => Number(key))).toEqual(after);
      // What stays alone, in its order, is not touched.
      const common = before.filter((key) => after.includes(key));
      const inOrder = after.filter((key) => before.includes(key)).join() === common.join();
      if (inOrder)
        expect([gone.length, come.length]).toEqual([before.length - common.length, after.length - common.length]);
    }),
  );
});

describe("what iptables-save prints", () => {
  const saved = (...forward: string[]) =>
    readSaved(
      [
        "# Generated by somebody",
        "*nat",
        `[0:0] -A POSTROUTING -j ${CHAINS}_o`,
        "COMMIT",
        "*filter",
        ":FORWARD DROP [0:0]",
        `:${CHAINS}_o - [0:0]`,
        `:${CHAINS}_ot - [0:0]`,
        ...forward.map((text) => `[1:40] -A FORWARD ${text}`),
        `[7:420] -A ${CHAINS}_ot ${ruleText(pattern(), CHAINS)}`,
        "COMMIT",
      ].join("\n"),
    );
  const ours = `-i tap0 -j ${CHAINS}_o`;

  it("is read, the table filter alone", () => {
    const listing = readListing(saved(ours), CHAINS, 4)!;
    expect(listing.problems).toEqual([]);
    expect([...listing.rules].map(([chain, [first]]) => [chain, first!.key])).toEqual([
      [`${CHAINS}_ot`, patternKey(pattern())],
    ]);
    expect([...listing.counts.values()]).toEqual([[7, 420]]);
    expect(listing.jumps).toHaveLength(1);
    expect(readListing(saved(ours), chainsOfGuest("vm2"), 4)).toBe(null);
  });

  it("tells whether ours is first, whoever else of ours is", () => {
    const problems = (...forward: string[]) => readListing(saved(...forward), CHAINS, 4)!.problems;
    expect(problems(ours, "-j ACCEPT")).toEqual([]);
    expect(problems(`-i tap1 -j ${chainsOfGuest("vm2")}_o`, ours)).toEqual([]);
    expect(problems("-j ACCEPT", ours)).toEqual(["in the chain FORWARD ours stand behind 1 of somebody else"]);
    expect(problems(ours, "-j LOG", ours)).toHaveLength(1);
  });
});

// With programs in iptables' place that answer as it does where the tests cannot go.
describe("the commands", () => {
  const folder = mkdtempSync(join(tmpdir(), "xfilter-test-iptables-"));
  beforeAll(() => vi.stubEnv("PATH", `${folder}:${process.env.PATH}`));
  afterAll(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });
  let backend: RuleBackend;
  const program = (name: string, script: string) => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, name), 0o755);
  };
  const both = (verb: string, script: string) => {
    for (const name of ["iptables", "ip6tables"]) program(`${name}-legacy-${verb}`, script);
  };
  beforeEach(() => {
    both("save", "printf '*filter\\nCOMMIT\\n'");
    both("restore", `cat > ${folder}/$(basename $0).input; echo "$@" > ${folder}/words`);
    backend = iptables({ variant: "legacy" });
  });
  afterEach(() => backend.close({ keep: true }));
  const open = async () => {
    const scope = { id: "vm1", bootId: "1", interfaces: [(await readDevice("lo"))!] };
    await backend.open(scope, { signal, leaseMs: null });
  };

  it("change what they are told and nothing else, and wait for others", async () => {
    await open();
    expect(readFileSync(join(folder, "words"), "utf8")).toContain("--test");
    await backend.reconcile(planOf([pattern(), pattern({ family: 6 })]), { signal });
    expect(readFileSync(join(folder, "words"), "utf8")).toBe("--noflush --counters --wait=20\n");
    for (const name of ["iptables", "ip6tables"]) {
      const input = readFileSync(join(folder, `${name}-legacy-restore.input`), "utf8");
      expect(input).toMatch(/^\*filter\n[\s\S]*COMMIT\n$/);
      expect(input.match(/ -j DROP$/gm)).not.toBe(null);
      expect(input).toContain(`-I FORWARD 1 -i lo -j ${CHAINS}_o\n-I FORWARD 2 -o lo -j ${CHAINS}_i\n-I INPUT 1 -i lo`);
      expect(input).not.toContain("physdev");
    }
  });

  it.each([
    ["iptables-restore v1.8.9 (legacy): Could not open lock: Permission denied", "BACKEND_PERMISSION", "CAP_NET_ADMIN"],
    [
      "iptables-restore v1.8.9 (nf_tables): \\nline 4: RULE_INSERT failed (No such file)",
      "BACKEND_FAILED",
      "refused: line 4",
    ],
    ["# Table `filter'\"'\"' is incompatible, use '\"'\"'nft'\"'\"' tool.", "BACKEND_UNSUPPORTED", "nftables"],
  ])("that say %s are heard", async (said, code, words) => {
    both("restore", `printf '${said}' >&2; exit 1`);
    await expect(open()).rejects.toMatchObject({ code, message: expect.stringContaining(words) });
  });

  it("of which one fails have changed half, and say so", async () => {
    await open();
    program("ip6tables-legacy-restore", "echo 'ip6tables-legacy-restore: line 7 failed' >&2; exit 1");
    const changed = backend.reconcile(planOf([pattern(), pattern({ family: 6 })]), { signal });
    await expect(changed).rejects.toMatchObject({ code: "BACKEND_FAILED" });
    await expect(changed).rejects.toThrow(
      "IPv4 was changed as planned, IPv6 was not: `ip6tables-legacy-restore` refused: line 7 failed.",
    );
  });

  it("of a variant that there is not are refused", () => {
    const made = () => iptables({ variant: "other" as "nft" });
    expect(made).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
  });
});
