import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { tablesOfGuest } from "../../lib/backends/nftables/names.ts";
import { join as joined } from "../../lib/cli/status.ts";
import { agentRuns, readReports, StatusFile } from "../../lib/cli/status-file.ts";
import type { FilterStatus } from "../../lib/filter/index.ts";

const GUEST = "qemu:/run/vm-ä\\1.qmp";
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "xfilter-status-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const status = {
  bootId: null,
  interfaces: [],
  inForce: [],
  unenforceable: [],
  unreadableSince: null,
} as unknown as FilterStatus;
function newFile() {
  const file = new StatusFile(directory, GUEST, () => status, expect.unreachable);
  file.begin();
  return file;
}

it("a filter that was refused leaves the report of the one that runs", () => {
  newFile();
  const refused = new StatusFile(directory, GUEST, () => status, expect.unreachable);
  refused.changed();
  refused.end(false);
  expect(readReports(directory)).toMatchObject([{ guest: GUEST, agent: process.pid }]);
});

it("what was kept is told without an agent", () => {
  newFile().end(true);
  expect(readReports(directory)).toMatchObject([{ guest: GUEST, agent: null }]);
});

it("a process that was given the pid of one that filtered is no filter", () => {
  const report = { ...readReports(directory)[0]!, agent: process.pid };
  expect(agentRuns({ ...report, agentStart: "1" })).toBe(false);
});

it("a file that is no report is left out", () => {
  for (const [name, text] of Object.entries({ a: "null", b: "{", c: '{"guest":1}', d: '{"guest":"vm"}' })) {
    writeFileSync(join(directory, `${name}.status.json`), text);
  }
  expect(readReports(directory)).toEqual([]);
});

it("the status of a guest finds its report whatever bytes its name has", () => {
  newFile();
  const installed = [
    {
      backend: "nftables",
      table: tablesOfGuest(GUEST)[1],
      guest: "qemu:/run/vm-\\xc3\\xa4...",
      interfaces: [],
      patterns: [],
    },
  ];
  expect(joined(installed, readReports(directory))).toMatchObject([{ guest: GUEST, agent: process.pid }]);
});
