import { type Guest, introspect, type Snapshot } from "../lib/index.ts";
import { type Layer, timed } from "./measure.ts";

const WALKS_AN_ATTACH = 10;

/** The library as a program in JavaScript meets it. */
export function libraryLayers(vmcore: string, guest: Guest): Layer[] {
  const layer = (what: string, once: () => Promise<number>, every = 1): Layer => ({ what, every, once });
  const onSnapshot = (work: (snapshot: Snapshot) => unknown) => async () => {
    const snapshot = await guest.snapshot();
    return timed(() => work(snapshot));
  };
  return [
    layer(
      `JavaScript: attach, kernel found by ${foundBy(guest)}`,
      () => timed(async () => (await introspect({ vmcore })).close()),
      WALKS_AN_ATTACH,
    ),
    layer("JavaScript: the walk on its thread", async () => (await guest.snapshot()).quality.elapsedNs / 1e6),
    layer("JavaScript: snapshot, as awaited", () => timed(() => guest.snapshot())),
    layer(
      "JavaScript: each owner of each socket",
      onSnapshot(({ sockets }) => {
        let sum = 0;
        for (const { owners } of sockets) for (const { pid } of owners) sum += pid;
        return sum;
      }),
    ),
    layer(
      "JavaScript: every field of all sockets, with owners",
      onSnapshot(({ sockets }) => sockets.toArray().map((socket) => socket.toJSON())),
    ),
  ];
}

function foundBy(guest: Guest): string {
  return guest.kernel.steps.find(({ name }) => name === "kernel")?.how.includes("note") ? "note" : "scan";
}
