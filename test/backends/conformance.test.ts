import { afterAll, afterEach, beforeAll, describe, it } from "vitest";
import { type IptablesVariant, iptables, nftables, tablesOfGuest } from "../../lib/backends/index.ts";
import { type BackendUnderTest, backendConformance, type Packet } from "../../lib/testing/index.ts";
import { BrokenProgram } from "./broken-program.ts";
import { ethernet, ipv4, ipv6, TCP, tcp, UDP, udp } from "./frame.ts";
import { GuestNetwork, sh } from "./network.ts";
import { TablesNetwork } from "./tables-network.ts";

// What every backend has to do, of the real firewalls.

const UDP_LITE = 136;

function frame({ direction, protocol, local, remote }: Packet): Buffer {
  const [from, to] = direction === "out" ? [local, remote] : [remote, local];
  const payload = (protocol === "tcp" ? tcp : udp)(from.port, to.port);
  const number = { tcp: TCP, udp: UDP, udplite: UDP_LITE }[protocol];
  const packet = from.address.includes(":") ? ipv6 : ipv4;
  return ethernet(packet({ from: from.address, to: to.address }, number, payload));
}

function conforms(subject: BackendUnderTest): void {
  for (const { name, skip, run } of backendConformance(subject)) it.skipIf(skip !== null)(name, run);
}

describe("nftables", () => {
  let network: GuestNetwork;
  let nft: BrokenProgram;
  beforeAll(() => {
    network = new GuestNetwork();
    nft = new BrokenProgram("nft", "-f");
  });
  afterAll(() => {
    nft?.close();
    network?.close();
  });

  /** Of those a guest may have, the table that is there. */
  const tableOf = (guest: string) => tablesOfGuest(guest).find((name) => sh("nft list tables").includes(name))!;

  conforms({
    create: nftables,
    interfaces: async () => [await network.device()],
    passes: (packet) => network.passed(packet.direction, frame(packet)) === 1,
    breakNextChange: () => nft.break(),
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
});

describe.each<[variant: IptablesVariant, way: "routed" | "filtered"]>([
  ["nft", "routed"],
  ["legacy", "routed"],
  ["nft", "filtered"],
  ["legacy", "filtered"],
])("iptables-%s, %s", (variant, way) => {
  const tables = `iptables-${variant}`;
  let network: TablesNetwork;
  let restore: BrokenProgram;
  beforeAll(() => {
    network = new TablesNetwork(way);
    restore = new BrokenProgram(`${tables}-restore`, "--counters");
  });
  afterAll(() => {
    restore?.close();
    network?.close();
  });
  afterEach(() => sh(`${tables} -F FORWARD`));

  const chains = (guest: string) => tablesOfGuest(guest).at(-1)!;

  conforms({
    create: () => iptables({ variant }),
    interfaces: async () => [await network.device()],
    passes: (packet) =>
      (packet.direction === "out" ? network.sent : network.received).call(network, frame(packet)) === 1,
    breakNextChange: () => restore.break(),
    disturbances: {
      "somebody flushes all chains": () => void sh(`${tables} -F`),
      "somebody loads rules of his own": () => {
        sh(`printf '*filter\\n:INPUT ACCEPT\\n:FORWARD ACCEPT\\n:OUTPUT ACCEPT\\nCOMMIT\\n' | ${tables}-restore`);
      },
      "somebody accepts everything in front of it": () => void sh(`${tables} -I FORWARD -j ACCEPT`),
      "somebody takes a pattern out": (guest) => void sh(`${tables} -D ${chains(guest)}_ot 1`),
      "somebody flushes IPv6": () => void sh(`ip6${tables.slice(2)} -F`),
    },
  });
});
