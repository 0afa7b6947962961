import { describe, expect, it } from "vitest";
import { compareSockets, shortenEndpoint } from "../../lib/cli/flow.ts";
import { formatStart } from "../../lib/cli/ps.ts";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns } from "../../lib/testing/columns.ts";

describe("xfilter ss", () => {
  it("sorts by protocol, family and local port", () => {
    const [TCP, UDP, RAW] = [0, 1, 3];
    const rows = [
      { protocol: RAW, family: 4, localPort: 1 },
      { protocol: UDP, family: 4, localPort: 53 },
      { protocol: TCP, family: 6, localPort: 22 },
      { protocol: TCP, family: 4, localPort: 443 },
      { protocol: TCP, family: 4, localPort: 22 },
    ];
    const { sockets } = new WalkedSnapshot(
      columns(
        [],
        rows.map((row) => ({ columns: row })),
      ),
    );
    const sorted = sockets.toArray().sort(compareSockets);
    expect(sorted.map(({ protocol, family, local }) => `${protocol} ${family} ${local.port}`)).toEqual([
      ...["tcp 4 22", "tcp 4 443", "tcp 6 22", "udp 4 53", "raw 4 1"],
    ]);
  });
});

describe("an endpoint that is too wide", () => {
  it.each([
    ["[2001:db8:22::1234:5678]:65535", 21, "[2001:d…4:5678]:65535"],
    ["192.168.100.200:22", 12, "192.….200:22"],
    ["192.168.100.200:65535", 7, "…:65535"],
  ])("%s keeps its port in %d characters", (endpoint, width, shown) => {
    expect(shortenEndpoint(endpoint, width)).toBe(shown);
  });
});

describe("xfilter ps", () => {
  it.each([
    [0n, "0.00s"],
    [1_234_567_890n, "1.23s"],
    [60_000_000_000n, "0:01:00"],
    [3_723_000_000_000n, "1:02:03"],
    [356_523_000_000_000n, "4d 03:02:03"],
  ])("shows a start %d ns after boot as %s", (nanoseconds, shown) => {
    expect(formatStart(nanoseconds)).toBe(shown);
  });
});
