import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { iptables, type RuleBackend } from "../../lib/backends/index.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { blocked, datagram } from "./filtered-guest.ts";
import { GUEST, OUTSIDE, sh } from "./network.ts";
import { type Change, pattern, planOf } from "./plan.ts";
import { ProgramInFront } from "./program-in-front.ts";
import { clearRulesets } from "./ruleset.ts";
import { TablesNetwork } from "./tables-network.ts";

// What goes from the host's connection tracking when a flow is blocked, and what stays.

const { signal } = new AbortController();
const ZONE = 7;
const FLOW = { from: `${GUEST.v4}:1000`, to: `${OUTSIDE.v4}:22` };
const ends = (text: string) => /^(.+):(\d+)$/.exec(text)!.slice(1) as [address: string, port: string];

describe("conntrack", () => {
  let network: TablesNetwork;
  let backend: RuleBackend;
  beforeAll(() => {
    network = new TablesNetwork("routed");
    sh("nft delete table netdev operator");
  });
  afterAll(() => network?.close());
  beforeEach(async () => {
    // Other tests' flows live on in this network.
    sh("conntrack -F 2> /dev/null");
    await open();
  });
  afterEach(async () => {
    await backend.close({ keep: false });
    clearRulesets();
  });

  async function open(): Promise<void> {
    backend = iptables({ flushConntrack: { zone: ZONE } });
    await backend.open({ id: "1", bootId: "1", interfaces: [await network.device()] }, { signal, leaseMs: null });
  }

  const force = (...patterns: FlowPattern[]) => backend.reconcile(planOf(patterns), { signal });
  const away = (change: Change = {}) =>
    pattern({ protocol: "udp", ...change, remote: { address: OUTSIDE.v4, ...change.remote } });

  /** Makes an entry of a flow that one end opened. */
  function enter({ from, to }: typeof FLOW, zone: number, protocol = "udp"): void {
    const [[source, sport], [destination, dport]] = [ends(from), ends(to)];
    const state = protocol === "tcp" ? "--state ESTABLISHED" : "";
    sh(`conntrack -I ${zone === 0 ? "" : `-w ${zone}`} -p ${protocol} -s ${source} -d ${destination} --sport ${sport} \
      --dport ${dport} -r ${destination} -q ${source} --reply-port-src ${dport} --reply-port-dst ${sport} -t 100 ${state} 2>&1`);
  }

  /** What opened each entry, "7 udp 10.1.0.2:1000 10.2.0.2:22". */
  const entries = () =>
    sh("conntrack -L -o extended 2> /dev/null")
      .split("\n")
      .flatMap((line) => {
        const [, protocol, from, to, sport, dport] =
          /^ipv\d +\d+ (\w+) .*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/.exec(line) ?? [];
        const [, zone = "0"] = /zone=(\d+)/.exec(line) ?? [];
        return protocol === undefined ? [] : [`${zone} ${protocol} ${from}:${sport} ${to}:${dport}`];
      })
      .sort();
  const named = (zone: number, { from, to } = FLOW, protocol = "udp") => `${zone} ${protocol} ${from} ${to}`;

  it("a flow that is blocked goes from the guest's zone, and the same one stays in others", async () => {
    for (const zone of [0, ZONE, 8]) enter(FLOW, zone);
    expect(entries()).toEqual([named(0), named(ZONE), named(8)]);
    await force(away({ action: "accept" }));
    expect(entries()).toHaveLength(3);
    await force(away());
    expect(entries()).toEqual([named(0), named(8)]);
  });

  it.each<[string, Change]>([
    ["that the guest opened", {}],
    ["of a rejected pattern", { action: "reject" }],
    ["of a pattern that enters", { direction: "in" }],
    ["of a network of the other end", { remote: { address: "10.2.0.0/30" } }],
    ["of some ports of it", { remote: { ports: [20, 25] } }],
    ["of all that the guest's address has", { local: { port: null }, remote: { address: null, ports: null } }],
    ["of a network of the guest's", { local: { address: "10.1.0.0/29" } }],
  ])("an entry goes %s", async (_, change) => {
    const answered = { from: FLOW.to, to: FLOW.from };
    enter(FLOW, ZONE);
    await force(away(change));
    expect(entries()).toEqual([]);
    await force();
    enter(answered, ZONE);
    await force(away(change));
    expect(entries()).toEqual([]);
  });

  it("what no pattern blocks stays in the zone, and so does what an exception lets pass", async () => {
    const others = [
      { from: `${GUEST.v4}:1001`, to: FLOW.to },
      { from: FLOW.from, to: `${OUTSIDE.v4}:23` },
      { from: FLOW.from, to: "10.2.0.3:22" },
      { from: "10.1.0.3:1000", to: FLOW.to },
      // The guest's end is the other one.
      { from: `${OUTSIDE.v4}:1000`, to: `${GUEST.v4}:22` },
    ];
    for (const flow of others) enter(flow, ZONE);
    enter(FLOW, ZONE, "tcp");
    const kept = { from: FLOW.from, to: `${OUTSIDE.v4}:24` };
    enter(kept, ZONE);
    const before = entries();
    await force(away({ remote: { ports: [24, 24] }, action: "accept" }), away({ remote: { ports: [24, 24] } }), away());
    expect(entries()).toEqual(before);
    await force(away({ remote: { ports: [24, 24] } }), away());
    expect(entries()).toEqual(before.filter((entry) => entry !== named(ZONE, kept)));
  });

  it("a pattern without the guest's address takes no entry away: either end could be the guest", async () => {
    enter(FLOW, ZONE);
    await force(away({ local: { address: null } }));
    expect(entries()).toEqual([named(ZONE)]);
  });

  it("IPv6 and TCP likewise", async () => {
    const flow = { from: `${GUEST.v6}:1000`, to: `${OUTSIDE.v6}:22` };
    enter(flow, ZONE, "tcp");
    enter(flow, 0, "tcp");
    await force(away({ family: 6, protocol: "tcp", remote: { address: OUTSIDE.v6 } }));
    expect(entries()).toEqual([named(0, flow, "tcp")]);
  });

  it("what is blocked already is asked for again only after somebody took it out", async () => {
    await force(away());
    enter(FLOW, ZONE);
    await force(away(), away({ local: { port: 1001 } }));
    expect(entries()).toEqual([named(ZONE)]);
    sh("iptables -F FORWARD");
    expect(await backend.inspect({ signal })).toMatchObject({ bites: false });
    expect(await force(away(), away({ local: { port: 1001 } }))).toMatchObject({ repaired: true });
    expect(entries()).toEqual([]);
  });

  it("an entry that the host made of packets, with their addresses changed, goes", async () => {
    sh(`iptables -t raw -A PREROUTING -i tap0 -j CT --zone ${ZONE}; iptables -t raw -A PREROUTING -i up0 -j CT --zone ${ZONE}
      iptables -t nat -A POSTROUTING -o up0 -j MASQUERADE`);
    expect(network.sent(blocked, datagram(7))).toBe(2);
    const other = named(ZONE, { from: `${GUEST.v4}:1001`, to: `${OUTSIDE.v4}:7` });
    expect(entries()).toEqual([named(ZONE), other]);
    await force(away());
    expect(entries()).toEqual([other]);
    expect(network.sent(blocked)).toBe(0);
    expect(entries()).toEqual([other]);
    sh("iptables -t nat -F");
  });

  it("what there is no time for at once goes at the next looks", async () => {
    const flows = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ ...FLOW, from: `${GUEST.v4}:${1000 + i}` }));
    const commands = flows(3_000).map(({ from, to }) => {
      const [[source, sport], [destination, dport]] = [ends(from), ends(to)];
      return `-I -w ${ZONE} -p udp -s ${source} -d ${destination} --sport ${sport} --dport ${dport} -r ${destination} -q ${source} --reply-port-src ${dport} --reply-port-dst ${sport} -t 1000`;
    });
    const file = sh("mktemp").trim();
    writeFileSync(file, `${commands.join("\n")}\n`);
    sh(`conntrack -R ${file} 2> /dev/null; rm ${file}`);
    expect(entries()).toHaveLength(3_000);
    await force(...flows(100).map((_, i) => away({ local: { port: 1000 + i } })));
    const look = async () => {
      await backend.inspect({ signal });
      return entries().length;
    };
    await expect.poll(look, { timeout: 50_000 }).toBe(2_900);
  });

  it("an entry goes at each look, however long the zone takes to be listed", async () => {
    const flows = [1000, 1001].map((port) => ({ ...FLOW, from: `${GUEST.v4}:${port}` }));
    for (const flow of flows) enter(flow, ZONE);
    const slow = new ProgramInFront("conntrack", 'case $1 in --dump) sleep 1.1 ;; esac\nexec $own "$@"');
    try {
      await force(away(), away({ local: { port: 1001 } }));
      expect(entries()).toHaveLength(1);
      await backend.inspect({ signal });
      expect(entries()).toEqual([]);
    } finally {
      slow.close();
    }
  });

  it("one that the kernel refuses to delete stays, is told, and keeps no others", async () => {
    const flows = [1000, 1001, 1002].map((port) => ({ ...FLOW, from: `${GUEST.v4}:${port}` }));
    for (const flow of flows) enter(flow, ZONE);
    const patterns = flows.map((_, i) => away({ local: { port: 1000 + i } }));
    const [first] = sh(`conntrack -L -w ${ZONE} 2> /dev/null`).match(/sport=100\d/)!;
    const script = `case "$*" in *--delete*"--sport ${first.slice(6)}"*) echo busy >&2; exit 1 ;; esac\nexec $own "$@"`;
    const refusing = new ProgramInFront("conntrack", script);
    try {
      await expect(force(...patterns)).rejects.toThrow("`conntrack` refused: busy");
      expect(entries()).toHaveLength(1);
      await expect(backend.inspect({ signal })).rejects.toThrow("busy");
    } finally {
      refusing.close();
    }
    await backend.inspect({ signal });
    expect(entries()).toEqual([]);
  });

  it("without the program nothing is opened", async () => {
    const folder = sh("mktemp -d").trim();
    await backend.close({ keep: false });
    sh(`cp -a /usr/sbin/*tables* ${folder}; mount --bind ${folder} /usr/sbin`);
    try {
      const opening = open();
      await expect(opening).rejects.toMatchObject({
        code: "BACKEND_NOT_FOUND",
        message: "`conntrack` is not installed. Install it (Debian's package conntrack).",
      });
    } finally {
      sh(`/bin/umount /usr/sbin; rm -r ${folder}`);
    }
  });
});

it.each<[unknown, string]>([
  [{ zone: 0 }, "flushConntrack.zone is a zone of this guest's own, not 0, which is everybody's"],
  [{ zone: 65536 }, "flushConntrack.zone is a number from 1 to 65535, not 65536"],
  [{ zone: -1 }, "flushConntrack.zone is a number from 1 to 65535, not -1"],
  [{ zone: "7" }, "flushConntrack has no zone, a whole number"],
  [{}, "flushConntrack has no zone, a whole number"],
  [{ zone: 7, zones: 8 }, '"zones" is not among the options of flushConntrack'],
])("a zone that is none is refused: %j", (flushConntrack, why) => {
  const made = () => iptables({ flushConntrack: flushConntrack as { zone: number } });
  expect(made).toThrow(why);
  expect(made).toThrow(expect.objectContaining({ code: "ERR_INVALID_OPTION" }));
});
