import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach, expect, it } from "vitest";
import { XFilterError } from "../../../lib/errors.ts";
import {
  type BackendCallMessage,
  createFilter,
  type Filter,
  type FilterEventMessage,
  type FilterPollMessage,
} from "../../../lib/filter/index.ts";
import { introspect, type SnapshotMessage } from "../../../lib/index.ts";
import { MemoryBackend } from "../../../lib/testing/memory-backend.ts";
import { MemoryGuest } from "../../../lib/testing/memory-guest.ts";
import { unpack } from "../../../vmcore-fixtures/unpack.ts";

let guest: MemoryGuest;
let backend: MemoryBackend;
let filter: Filter;
let subscriptions: [string, (message: unknown) => void][];

beforeEach(() => {
  guest = new MemoryGuest();
  guest.processes = [{ pid: 103, uid: 1003 }];
  guest.flows = [{ pid: 103, localPort: 40003, remotePort: 22 }];
  backend = new MemoryBackend();
  const rules = ["deny tcp from any to any 22 out uid 1003"];
  filter = createFilter({ guest: guest.asGuest(), backend, id: "vm1", rules, intervalMs: 5 });
  subscriptions = [];
});

afterEach(async () => {
  await filter.stop();
  for (const [name, listener] of subscriptions) unsubscribe(name, listener);
});

/** What a channel tells from now on. */
function heard<Message>(name: string): Message[] {
  const messages: Message[] = [];
  const listener = (message: unknown) => void messages.push({ ...(message as Message) });
  subscribe(name, listener);
  subscriptions.push([name, listener]);
  return messages;
}

it("each event is told by a channel", async () => {
  const events = heard<FilterEventMessage>("xfilter-core:filter:event");
  await filter.start();
  await filter.stop();
  expect(events.map(({ event }) => event.type)).toEqual(["set", "cleared", "ended"]);
  expect(events[0]).toMatchObject({ id: "vm1", event: { pattern: { owner: { pid: 103 } } } });
  expect(events[0]!.filter).toBe(filter);
});

it("each poll is told by a tracing channel, from the start on, with how its walk went", async () => {
  const begun = heard<FilterPollMessage>("tracing:xfilter-core:filter:poll:start");
  const done = heard<FilterPollMessage>("tracing:xfilter-core:filter:poll:asyncEnd");
  await filter.start();
  expect([begun, done]).toMatchObject([[{ id: "vm1" }], [{ id: "vm1", result: { torn: 0 } }]]);
  expect(done[0]!.result).toEqual(filter.status().lastWalk);
  guest.failure = new XFilterError("WALK_BUDGET", "it takes too long", "");
  await expect.poll(() => done.at(-1)!.result).toBe(null);
  expect(filter.status().lastWalk).toMatchObject({ torn: 0 });
});

it("what ends a filter is told as its poll's error", async () => {
  const errors = heard<FilterPollMessage>("tracing:xfilter-core:filter:poll:error");
  await filter.start();
  guest.failure = new XFilterError("SOURCE_GONE", "its QEMU has ended", "");
  await expect.poll(() => errors).toMatchObject([{ id: "vm1", error: { code: "SOURCE_GONE" } }]);
});

it("each call of a backend is told by a tracing channel", async () => {
  const calls = heard<BackendCallMessage>("tracing:xfilter-core:filter:backend:asyncEnd");
  await filter.start();
  await filter.stop();
  expect(calls.map(({ method }) => method)).toEqual(["open", "inspect", "reconcile", "close"]);
  expect(calls[2]).toMatchObject({ id: "vm1", backend: "memory", result: { unchanged: 0 } });
});

it("each snapshot is told by a tracing channel", async () => {
  const done = heard<SnapshotMessage>("tracing:xfilter-core:snapshot:asyncEnd");
  const image = await introspect((await unpack()).image);
  const snapshot = await image.snapshot();
  await expect(image.snapshot({ signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
  await image.close();
  expect(done.map(({ result, error }) => [result, error])).toEqual([
    [snapshot, undefined],
    [undefined, "enough"],
  ]);
});
