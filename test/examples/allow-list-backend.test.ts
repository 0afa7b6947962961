import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { BlockList } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { type AllowList, allowLists } from "../../examples/allow-list.ts";
import { allowListBackend } from "../../examples/allow-list-backend.ts";
import type { FlowPattern } from "../../lib/rules/pattern.ts";
import { backendConformance, comesPast, decidingPattern, type Packet, planOf } from "../../lib/testing/index.ts";
import { pattern } from "../backends/plan.ts";

const { signal } = new AbortController();
const directory = mkdtempSync(join(tmpdir(), "xfilter-lists-"));
const make = (maxEntries = 1_000) => allowListBackend({ directory, maxEntries });

beforeEach(() => {
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
});

afterAll(() => rmSync(directory, { recursive: true }));

/** The firewall: no pattern and no "drop" in it, only lists. */
function passes(lists: readonly AllowList[], { direction, protocol, local, remote }: Packet): boolean {
  const family = local.address.includes(":") ? 6 : 4;
  const own = lists.filter(
    (list) => list.direction === direction && list.protocol === protocol && list.family === family,
  );
  const list = own.find(({ port }) => port === local.port) ?? own.find(({ port }) => port === null);
  if (list === undefined) return true;
  const type = `ipv${family}` as const;
  const within = ([from, to]: readonly [string, string], address: string) => {
    const range = new BlockList();
    range.addRange(from, to, type);
    return range.check(address, type);
  };
  return list.allow.some((entry) => {
    const [from, to] = entry.remotePorts;
    return (
      from <= remote.port &&
      remote.port <= to &&
      within(entry.local, local.address) &&
      within(entry.remote, remote.address)
    );
  });
}

interface File {
  guest: string;
  lists: AllowList[];
}
const files = () => readdirSync(directory).filter((name) => name.endsWith(".json"));
const read = (name: string) => JSON.parse(readFileSync(join(directory, name), "utf8")) as File;
const fileOf = (guest: string) => files().find((name) => read(name).guest === guest);
const listsOf = (guest: string) => {
  const file = fileOf(guest);
  return file === undefined ? [] : read(file).lists;
};

describe("the allow-list backend", () => {
  /** A directory where the next change is to be written. */
  let obstacle: string | null = null;
  const cases = backendConformance({
    create: () => {
      const backend = make();
      const reconcile = backend.reconcile.bind(backend);
      backend.reconcile = async (plan, options) => {
        try {
          return await reconcile(plan, options);
        } finally {
          if (obstacle !== null) rmdirSync(obstacle);
          obstacle = null;
        }
      };
      return backend;
    },
    passes: (packet, guest) => passes(listsOf(guest), packet),
    breakNextChange: (guest) => {
      obstacle = join(directory, `${fileOf(guest)}.new`);
      mkdirSync(obstacle);
    },
    disturbances: {
      "takes the file away": (guest) => rmSync(join(directory, fileOf(guest)!)),
      "opens a port": (guest) => {
        const path = join(directory, fileOf(guest)!);
        const file = JSON.parse(readFileSync(path, "utf8")) as File;
        writeFileSync(path, JSON.stringify({ ...file, lists: file.lists.slice(1) }));
      },
      "writes something else there": (guest) =>
        writeFileSync(join(directory, fileOf(guest)!), `{"guest": ${JSON.stringify(guest)}}`),
    },
  });
  for (const { name, skip, run } of cases) it.skipIf(skip !== null)(name, run);

  it("refuses a plan for which there is no room as a whole, and what was in force stays", async () => {
    const backend = make(8);
    await backend.open({ id: "vm1", bootId: "1", interfaces: [] }, { signal, leaseMs: null });
    const [first, second] = [1, 2].map((port) => pattern({ local: { address: null, port } }));
    await backend.reconcile(planOf([first!]), { signal });
    const before = listsOf("vm1");
    expect(before).toHaveLength(1);
    await expect(backend.reconcile(planOf([first!, second!]), { signal })).rejects.toThrow(/more than the 8 entries/);
    expect(listsOf("vm1")).toEqual(before);
    await backend.close({ keep: false });
    expect(files()).toEqual([]);
  });

  it("says which directory it cannot write to", async () => {
    const opened = allowListBackend({ directory: "/no/lists" }).open(
      { id: "vm1", bootId: "1", interfaces: [] },
      { signal, leaseMs: null },
    );
    await expect(opened).rejects.toThrow("/no/lists");
  });
});

/** Of a few values, so that patterns and packets meet. */
const addresses = fc.constantFrom("192.0.2.0", "192.0.2.1", "192.0.2.255", "0.0.0.0", "255.255.255.255");
const networks = fc.constantFrom(null, "192.0.2.0/24", "192.0.2.0/31", "128.0.0.0/1", "192.0.2.1");
const ports = fc.constantFrom(0, 1, 22, 25, 65535);
const patterns = fc.array(
  fc.record({
    direction: fc.constant("out" as const),
    family: fc.constant(4 as const),
    protocol: fc.constantFrom("tcp" as const, "udp" as const),
    local: fc.record({ address: fc.option(addresses), port: fc.option(fc.constantFrom(22, 80)) }),
    remote: fc.record({
      address: networks,
      ports: fc.option(fc.tuple(ports, ports).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)),
    }),
    action: fc.constantFrom("drop" as const, "accept" as const),
  }),
  { maxLength: 8 },
);
const packets = fc.record({
  direction: fc.constant("out" as const),
  protocol: fc.constantFrom("tcp" as const, "udp" as const),
  local: fc.record({ address: addresses, port: fc.constantFrom(22, 80, 443) }),
  remote: fc.record({ address: addresses, port: ports }),
});

it("lists let pass what the patterns do, whatever these are", () => {
  fc.assert(
    fc.property(patterns, fc.array(packets, { minLength: 20, maxLength: 20 }), (patterns: FlowPattern[], packets) => {
      const lists = allowLists(patterns, 100_000);
      for (const packet of packets)
        expect(passes(lists, packet)).toBe(
          comesPast(
            decidingPattern(
              patterns.map((one) => ({ ...one, key: "" })),
              packet,
            )?.action,
          ),
        );
    }),
  );
});
