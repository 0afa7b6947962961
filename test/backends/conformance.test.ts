import { afterAll, beforeAll, describe, it } from "vitest";
import { nftables, tablesOfGuest } from "../../lib/backends/index.ts";
import { backendConformance, type Packet } from "../../lib/testing/index.ts";
import { ethernet, ipv4, ipv6, TCP, tcp, UDP, udp } from "./frame.ts";
import { GuestNetwork, sh } from "./network.ts";

// What every backend has to do, of the real firewall.

const UDP_LITE = 136;
let network: GuestNetwork;

beforeAll(() => {
  network = new GuestNetwork();
});

afterAll(() => network?.close());

function frame({ direction, protocol, local, remote }: Packet): Buffer {
  const [from, to] = direction === "out" ? [local, remote] : [remote, local];
  const payload = (protocol === "tcp" ? tcp : udp)(from.port, to.port);
  const number = { tcp: TCP, udp: UDP, udplite: UDP_LITE }[protocol];
  const packet = from.address.includes(":") ? ipv6 : ipv4;
  return ethernet(packet({ from: from.address, to: to.address }, number, payload));
}

/** Of those a guest may have, the table that is there. */
const tableOf = (guest: string) => tablesOfGuest(guest).find((name) => sh("nft list tables").includes(name))!;

describe("nftables", () => {
  const cases = backendConformance({
    create: nftables,
    interfaces: async () => [await network.device()],
    passes: (packet) => network.passed(packet.direction, frame(packet)) === 1,
    disturbances: {
      "somebody flushes everything": () => {
        sh("nft flush ruleset");
        network.watch();
      },
      "somebody deletes the table": (guest) => {
        sh(`nft delete table netdev ${tableOf(guest)}`);
      },
      "somebody takes an element out": (guest) => {
        sh(`nft flush map netdev ${tableOf(guest)} out4_flow`);
      },
    },
  });
  for (const { name, skip, run } of cases) it.skipIf(skip !== null)(name, run);
});
