import { describe, expect, it } from "vitest";
import { eventsOf, formatEvent } from "../../lib/cli/watch.ts";
import type { Difference } from "../../lib/index.ts";
import { WalkedSnapshot } from "../../lib/snapshot.ts";
import { columns } from "../../lib/testing/columns.ts";

/** Of whichever time zone the test runs in. */
const time = new Date(2026, 0, 2, 12, 3, 4, 512);
const NONE = { came: [], gone: [], changed: [] };

function difference(what: Partial<Difference>): Difference {
  return {
    ...{ initial: false, time: time.getTime(), missedPolls: 0, reattached: false, quality: null },
    ...{ processes: NONE, sockets: NONE },
    ...what,
  };
}

const shown = (what: Partial<Difference>) => eventsOf(difference(what)).map(formatEvent);

function nc(uid: number, comm = "nc") {
  return new WalkedSnapshot(columns([{ pid: 539, comm, columns: { ppid: 1, uid, euid: uid, gid: 100 } }])).processes.at(
    0,
  )!;
}

function ssh(port: number, owned = true) {
  const socket = {
    local: [192, 0, 2, 7],
    remote: [198, 51, 100, 2],
    owners: owned ? [{ pid: 539, fd: 3 }] : [],
    columns: { state: 1, localPort: port, remotePort: 22, uid: 1003, unownedReason: owned ? 0 : 3 },
  };
  return new WalkedSnapshot(columns([{ pid: 539, comm: "nc" }], [socket])).sockets.at(0)!;
}

describe("xfilter watch", () => {
  it("shows a process that started, and one that ended", () => {
    expect(shown({ processes: { ...NONE, came: [nc(1003)] } })).toEqual([
      "12:03:04.512 + process 539 nc uid 1003 gid 100 parent 1",
    ]);
    expect(shown({ processes: { ...NONE, gone: [nc(1003)] } })[0]).toMatch(/^12:03:04.512 - process 539 /);
  });
  it("shows what a process was before it changed", () => {
    expect(shown({ processes: { ...NONE, changed: [{ before: nc(1003), after: nc(0) }] } })).toEqual([
      "12:03:04.512 ~ process 539 nc uid 0 gid 100 parent 1 (was uid 1003, euid 1003)",
    ]);
  });
  it("shows sockets with their owners, or why they have none; what closed comes first", () => {
    expect(shown({ sockets: { ...NONE, came: [ssh(40000)], gone: [ssh(40001, false)] } })).toEqual([
      "12:03:04.512 - tcp ESTABLISHED 192.0.2.7:40001 198.51.100.2:22 uid 1003 (orphan)",
      "12:03:04.512 + tcp ESTABLISHED 192.0.2.7:40000 198.51.100.2:22 uid 1003 539/nc/3",
    ]);
  });
  it("says how many polls were left out", () => {
    expect(shown({ missedPolls: 2 })).toEqual(["12:03:04.512 ! polls left out because one took too long: 2"]);
  });
  it("says that the guest is another", () => {
    expect(shown({ reattached: true })).toEqual([
      "12:03:04.512 ! the guest was reset or got other RAM, and was attached to again",
    ]);
  });
  it("escapes what the guest wrote", () => {
    expect(shown({ processes: { ...NONE, came: [nc(0, "\x1b[2J")] } })[0]).toContain(" \\x1b[2J ");
  });
  it("lets no name pass for more than a name", () => {
    expect(shown({ processes: { ...NONE, came: [nc(1003, "x uid 0 gid 0"), nc(1003, "")] } })).toEqual([
      '12:03:04.512 + process 539 "x uid 0 gid 0" uid 1003 gid 100 parent 1',
      '12:03:04.512 + process 539 "" uid 1003 gid 100 parent 1',
    ]);
    const changed = [{ before: nc(1003, "x, uid 0"), after: nc(1003) }];
    expect(shown({ processes: { ...NONE, changed } })[0]).toMatch(/ \(was comm "x, uid 0"\)$/);
  });
  it("is in JSON one event an object", () => {
    const [event] = eventsOf(difference({ processes: { ...NONE, changed: [{ before: nc(1003), after: nc(0) }] } }));
    expect(JSON.parse(JSON.stringify(event))).toMatchObject({
      time: time.toISOString(),
      event: "process-changed",
      process: { pid: 539, uid: 0 },
      before: { pid: 539, uid: 1003 },
    });
  });
});
