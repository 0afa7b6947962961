import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tablesOfGuest } from "../../lib/backends/nftables/names.ts";
import { formatUnenforceable } from "../../lib/cli/filter-event.ts";
import { formatStatus } from "../../lib/cli/status.ts";
import { StatusFile } from "../../lib/cli/status-file.ts";
import type { FilterStatus } from "../../lib/filter/index.ts";

const command = join(import.meta.dirname, "../../dist/cli/main.js");
const directory = mkdtempSync(join(tmpdir(), "xfilter-cli-"));
const state = join(directory, "state");
const [A, B] = [tablesOfGuest("vm-a")[0], tablesOfGuest("vm-b")[0]];

// A program in nft's place that holds a table for each of two guests.
beforeAll(() => {
  const table = (name: string, handle = 1) => ({ table: { family: "netdev", name, handle } });
  const answers = { tables: [table(A), table(B, 2)], [A]: [table(A)], [B]: [table(B)] };
  for (const [name, nftables] of Object.entries(answers))
    writeFileSync(join(directory, name), JSON.stringify({ nftables }));
  mkdirSync(join(directory, "bin"));
  const nft = `#!/bin/sh\n[ "$2" = list ] && for name; do :; done && exec cat ${directory}/$name\ncat > /dev/null\n`;
  writeFileSync(join(directory, "bin/nft"), nft);
  chmodSync(join(directory, "bin/nft"), 0o755);
});
afterAll(() => rmSync(directory, { recursive: true }));

function xfilter(...args: readonly string[]) {
  const env = { ...process.env, PATH: `${join(directory, "bin")}:${process.env.PATH}` };
  const { stdout, stderr, status } = spawnSync(process.execPath, [command, ...args], { encoding: "utf8", env });
  return { stdout, stderr, status };
}

describe("xfilter status", () => {
  it("is of all guests, or of one", () => {
    const tables = (...args: readonly string[]) =>
      xfilter("status", "--json", "--state", state, ...args)
        .stdout.trim()
        .split("\n")
        .map((line) => JSON.parse(line).table);
    expect(tables()).toEqual([A, B]);
    expect(tables("vm-b")).toEqual([B]);
  });
  it("says of what no device leads to any more that it is not in force", () => {
    const left = { guest: "vm", backend: "nftables", table: A, agent: null, unenforceable: [], unreadableSince: null };
    const pattern = { key: "out tcp4 *:* *:22 drop", packets: 1 };
    const inForce = formatStatus({ ...left, interfaces: ["tap0"], patterns: [pattern] });
    expect(inForce).toEqual([
      "vm on tap0 with nftables, nobody filters any more: 1 pattern",
      "  out tcp4 *:* *:22 drop, 1 packet",
    ]);
    const ended = formatStatus({ ...left, interfaces: [], patterns: [pattern] });
    expect(ended).toEqual([expect.stringContaining("nothing is in force any more")]);
  });
});

describe("xfilter clear", () => {
  it("says of a guest that it does not know for which others something is in force", () => {
    const { stdout, stderr, status } = xfilter("clear", "vm-c", "--state", join(directory, "none"));
    expect([stdout, status]).toEqual(["nothing was in force\n", 0]);
    expect(stderr).toBe(`xfilter: warning: by this name nothing is in force, but for ${A}, ${B}\n`);
  });
  it("says who puts back what it cleared", () => {
    const status = { bootId: null, interfaces: [], inForce: [], unenforceable: [], unreadableSince: null };
    new StatusFile(state, "vm-a", () => status as unknown as FilterStatus, expect.unreachable).begin();
    const { stdout, stderr, status: code } = xfilter("clear", "--all", "--state", state);
    expect([stdout, code]).toEqual([`cleared vm-a: 0 patterns\ncleared ${B}: 0 patterns\n`, 0]);
    const why = `process ${process.pid} filters vm-a and puts it back: to end it (kill ${process.pid}) is to clear it`;
    expect(stderr).toBe(`xfilter: warning: ${why}\n`);
  });
  it("prints what it cleared as JSON", () => {
    const { stdout } = xfilter("clear", "vm-b", "--json", "--state", state);
    expect(JSON.parse(stdout)).toEqual({ guest: null, backend: "nftables", table: B, patterns: 0 });
  });
});

it("what is not blocked is said first, a thing once, and what stays within the guest is counted", () => {
  const flow = (reason: string, what: string) => ({ reason, what });
  const lines = formatUnenforceable([
    flow("loopback", "tcp 127.0.0.1:1"),
    flow("no-flow", "a packet socket"),
    { ...flow("nat", "udp *:5: NOT BLOCKED"), by: "deny ip from any to any" },
    flow("loopback", "tcp 127.0.0.1:2"),
    flow("no-flow", "a packet socket"),
  ]);
  expect(lines).toEqual([
    'cannot be enforced: udp *:5: NOT BLOCKED (nat), by "deny ip from any to any"',
    "cannot be enforced: a packet socket (no-flow), 2 times",
    "cannot be enforced: 2 flows within the guest (loopback)",
  ]);
});
