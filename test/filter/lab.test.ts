import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { introspect } from "../../lib/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import { alice, type Lab, type LabGuest, mallory, startLab, type Talker, usual } from "../../vmcore-fixtures/lab.ts";
import { type Held, losses } from "../../vmcore-fixtures/lab-report.ts";
import { flows, lostBy } from "./observing.ts";

// The lab itself, with rules written by hand: what it shows of a firewall is true, and what it shows of losses is complete.

const abort = new AbortController();
let lab: Lab;

beforeAll(async () => {
  lab = await startLab({ signal: abort.signal });
});

afterAll(async () => {
  await lab?.close();
  abort.abort();
});

const nft = (text: string) => run("nft", ["-f", "-"], { input: Buffer.from(text) });

/** Drops what matches, from the guest, until it is lifted. */
async function drop({ tap }: LabGuest, match: string): Promise<void> {
  await nft(`table netdev by-hand {
    chain from-guest { type filter hook ingress device ${tap} priority 0; ${match} drop; }
  }`);
}

const lift = () => nft("delete table netdev by-hand");

async function heldBy(talker: Talker, protocol: string, family: number): Promise<Held> {
  const { held } = await talker.report();
  return held.find((flow) => flow.protocol === protocol && flow.family === family)!;
}

describe("two guests with the same addresses", () => {
  it("lose nothing while nobody interferes", async () => {
    const users = await Promise.all(
      [lab.a, lab.b].flatMap((guest) =>
        [alice, mallory].map(async (uid) => ({ guest, talker: await guest.talk({ uid, ...usual }) })),
      ),
    );
    await sleep(3000);
    for (const { talker } of users) {
      const { held, opened } = await talker.report();
      for (const { echoed } of held) expect(echoed).toBeGreaterThan(0);
      for (const { done } of opened) expect(done).toBeGreaterThan(0);
    }
    for (const { guest, talker } of users) expect(await lostBy(guest, talker)).toEqual([]);
  });

  it.each([
    ["tcp", 4],
    ["tcp", 6],
    ["udp", 4],
    ["udp", 6],
  ] as const)("lose one flow to a rule, %s over IPv%i, and nothing else", async (protocol, family) => {
    const [blocked, honest, twin] = await Promise.all([
      lab.a.talk({ uid: mallory, drain: 2000, ...usual }),
      lab.a.talk({ uid: alice, ...usual }),
      lab.b.talk({ uid: mallory, ...usual }),
    ]);
    const flow = await heldBy(blocked, protocol, family);
    await flows(blocked, flow);

    const match = `meta protocol ${family === 4 ? "ip" : "ip6"} ${protocol} sport ${flow.localPort} ${protocol} dport 22`;
    await drop(lab.a, match);
    const since = process.hrtime.bigint();
    await sleep(2000);
    const during = await heldBy(blocked, protocol, family);
    const arrived = async () =>
      (await lab.a.outside.report()).heard.find((heard) => heard.flow === flow.flow && heard.uid === mallory)!;
    const { last, bytes } = await arrived();
    await sleep(500);
    expect(await arrived()).toMatchObject({ last, bytes });
    console.log(`${protocol}${family}: the last byte came ${Number(last - since) / 1e6} ms after nft had ended`);
    await flows(honest, await heldBy(honest, protocol, family));
    await flows(twin, await heldBy(twin, protocol, family));

    await lift();
    await flows(blocked, during);
    expect(await lostBy(lab.a, honest)).toEqual([]);
    expect(await lostBy(lab.b, twin)).toEqual([]);
    const lost = await lostBy(lab.a, blocked);
    if (protocol === "tcp") expect(lost).toEqual([]);
    else expect(lost.join("\n")).toMatch(/bytes arrived[\s\S]*gaps/); // that nothing is overlooked
  });
});

describe("what a guest's users can be made to do", () => {
  it("is seen from outside, with whose it is", async () => {
    const talker = await lab.a.talk({ uid: mallory, hold: usual.hold, comm: "mallory-ssh" });
    const guest = await introspect({ qemu: { qmp: lab.a.live.qmp } });
    try {
      const { sockets } = await guest.snapshot();
      for (const flow of talker.started.held) {
        const found = [...sockets].find(
          ({ local, protocol }) => local.port === flow.localPort && protocol === flow.protocol,
        )!;
        expect(found).toMatchObject({ family: flow.family, remote: { port: 22 }, uid: mallory });
        expect(found.owners).toMatchObject([{ pid: talker.started.pids[2], uid: mallory, comm: "mallory-ssh" }]);
      }
    } finally {
      await guest.close();
    }
    expect(await lostBy(lab.a, talker)).toEqual([]);
  });

  it("takes a process id and a local port that were another's", async () => {
    const first = await lab.a.talk({ uid: mallory, hold: ["udp4:22:40000"] });
    const pid = first.started.pids[2];
    await first.exit("reset");
    const second = await lab.a.talk({ uid: alice, hold: ["udp4:22:40000"], pid });
    expect(second.started.pids[2]).toBe(pid);
    expect(second.started.held[0]!.localPort).toBe(40000);
    expect(await lostBy(lab.a, second)).toEqual([]);
  });

  it("leaves a parent and a grandparent, and loses the parent", async () => {
    const talker = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], lineage: true });
    const [grandparent, parent, self] = talker.started.pids;
    expect(new Set([grandparent, parent, self, 0]).size).toBe(4);
    await talker.orphan();
    expect(await lostBy(lab.a, talker)).toEqual([]);
  });

  it("exits with data queued, and it arrives when nothing stops it", async () => {
    const talker = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], quiet: true });
    await expect.poll(async () => (await talker.report()).held[0]!.sent).toBeGreaterThan(0);
    const { sent, flow } = (await talker.exit("queue")).held[0]!;
    expect(sent).toBeGreaterThan(10_000);
    const arrived = async () => (await lab.a.outside.report()).heard.find((heard) => heard.flow === flow)!.bytes;
    await expect.poll(arrived, { timeout: 20_000 }).toBe(sent);
  });

  it("listens as a user, and is reached from outside", async () => {
    const report = await lab.a.serve(mallory, ["tcp4:2222", "udp6:2222"]);
    const visitor = await lab.a.outside.talk({ hold: ["tcp4:2222", "udp6:2222"] });
    for (const flow of visitor.started.held) await flows(visitor, flow);
    expect(losses(await visitor.stop(), await report())).toEqual([]);
  });

  it("talks to the machine itself", async () => {
    const talker = await lab.a.talk({ uid: mallory, to: "host", ...usual });
    for (const flow of talker.started.held) await flows(talker, flow);
    expect(losses(await talker.stop(), await lab.host.heard())).toEqual([]);
  });

  it("talks from a network behind the guest's, with the guest's address", async () => {
    const talker = await lab.a.contain({ uid: mallory, hold: ["tcp4:22"], open: ["tcp4:80"] });
    const flow = talker.started.held[0]!;
    await flows(talker, flow);
    const heard = (await lab.a.outside.report()).heard.find((candidate) => candidate.flow === flow.flow)!;
    expect(heard.source).toBe("10.77.0.15");
    expect(await lostBy(lab.a, talker)).toEqual([]);
  });
});
