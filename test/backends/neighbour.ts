import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IptablesVariant } from "../../lib/backends/index.ts";
import { Firewalld, type FirewalldBackend } from "./firewalld.ts";
import { GUEST, sh, TAP } from "./network.ts";
import { UP } from "./tables-network.ts";

/** Somebody else's firewall on a host with a guest that is routed, and what he does to the host's rules while ours are in force. */
export interface Neighbour {
  readonly name: string;
  /** A packet from the guest to the outside that he stops; from other ports to other ports he lets it pass. */
  readonly stops: { readonly from: string; readonly port: number };
  /** He puts rules at numbered places of a chain: where ours come to its front meanwhile, these are not the places that he means. */
  readonly countsPlaces?: boolean;
  /** His firewall as it is before that. */
  begin(): Promise<void> | void;
  disturb(): Promise<void> | void;
  /** Ends what of his runs. His rules may stay. */
  end(): Promise<void> | void;
}

const FORBIDDEN = 7777;
const stops = { from: GUEST.v4, port: FORBIDDEN };
const NETWORK = "10.1.0.0/24";

/** Those who change what others have put into iptables, or into nftables. */
export function neighbours(variant: IptablesVariant): readonly Neighbour[] {
  const iptables = `iptables-${variant}`;
  const ip6tables = `ip6tables-${variant}`;
  const file = (name: string, text: string, load: (path: string) => string): Neighbour => {
    const run = () => {
      const folder = mkdtempSync(join(tmpdir(), "xfilter-neighbour-"));
      writeFileSync(join(folder, "rules"), text);
      sh(load(join(folder, "rules")));
      rmSync(folder, { recursive: true });
    };
    return { name, stops, begin: run, disturb: run, end: () => {} };
  };
  const script = (name: string, commands: string, change: Partial<Neighbour> = {}): Neighbour => {
    return { name, stops, begin: () => {}, disturb: () => void sh(commands), end: () => {}, ...change };
  };
  const again = script(
    "a script of iptables -F, -X and its rules",
    [iptables, ip6tables]
      .flatMap((each) => [
        `${each} -w -F; ${each} -w -X`,
        `${each} -w -P FORWARD ACCEPT; ${each} -w -N guests; ${each} -w -A FORWARD -i ${TAP} -j guests`,
        `${each} -w -A guests -p udp --dport ${FORBIDDEN} -j DROP; ${each} -w -A guests -j ACCEPT`,
      ])
      .join("\n"),
  );
  const saved = `*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -i ${TAP} -p udp -m udp --dport ${FORBIDDEN} -j DROP
-A FORWARD -i ${TAP} -j ACCEPT
COMMIT
`;
  return [
    file(
      "nftables.service restarts",
      `flush ruleset
table inet filter {
  chain forward { type filter hook forward priority filter; policy accept; iifname "${TAP}" udp dport ${FORBIDDEN} drop; }
}`,
      (path) => `nft -f ${path}`,
    ),
    file("iptables-restore", saved, (path) => `${iptables}-restore ${path}; ${ip6tables}-restore ${path}`),
    { ...again, begin: again.disturb },
    ...(["nftables", variant] as const).flatMap((backend) => {
      const by = backend === "nftables" ? backend : `iptables-${backend}`;
      return [
        firewalld(`firewalld (${by}) reloads`, backend, async (daemon) => void (await daemon.command("--reload"))),
        firewalld(`firewalld (${by}) restarts`, backend, (daemon) => daemon.restart()),
      ];
    }),
    script("libvirt starts a network", libvirt(iptables), { stops: { from: "10.3.0.2", port: 7 } }),
    script("Docker starts", docker(iptables)),
  ];
}

function firewalld(name: string, backend: FirewalldBackend, disturb: (daemon: Firewalld) => Promise<void>): Neighbour {
  let daemon: Firewalld | undefined;
  const leaving = `<policy target="ACCEPT"><ingress-zone name="guests"/><egress-zone name="world"/>
    <rule><port port="${FORBIDDEN}" protocol="udp"/><drop/></rule></policy>`;
  return {
    name,
    stops,
    countsPlaces: backend !== "nftables",
    begin: async () => {
      daemon = new Firewalld(backend, { guests: TAP, world: UP }, { leaving });
      await daemon.start();
    },
    disturb: () => disturb(daemon!),
    end: () => daemon?.close(),
  };
}

/** What libvirtd inserts when it starts a network with NAT, of which the guest's device stands for the bridge. */
function libvirt(iptables: string): string {
  const [filter, nat] = [`${iptables} -w`, `${iptables} -w -t nat`];
  const made = { LIBVIRT_INP: "INPUT", LIBVIRT_OUT: "OUTPUT", LIBVIRT_FWO: "FORWARD", LIBVIRT_FWI: "FORWARD" };
  const leads = Object.entries({ ...made, LIBVIRT_FWX: "FORWARD" });
  return [
    ...leads.map(([chain]) => `${filter} -N ${chain}`),
    ...leads.map(([chain, from]) => `${filter} -I ${from} 1 -j ${chain}`),
    `${nat} -N LIBVIRT_PRT; ${nat} -I POSTROUTING 1 -j LIBVIRT_PRT`,
    ...["udp", "tcp"].map((protocol) => `${filter} -A LIBVIRT_INP -i ${TAP} -p ${protocol} --dport 53 -j ACCEPT`),
    ...["udp", "tcp"].map((protocol) => `${filter} -A LIBVIRT_OUT -o ${TAP} -p ${protocol} --dport 53 -j ACCEPT`),
    `${filter} -A LIBVIRT_FWO -s ${NETWORK} -i ${TAP} -j ACCEPT`,
    `${filter} -A LIBVIRT_FWO -i ${TAP} -j REJECT --reject-with icmp-port-unreachable`,
    `${filter} -A LIBVIRT_FWI -d ${NETWORK} -o ${TAP} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `${filter} -A LIBVIRT_FWI -o ${TAP} -j REJECT --reject-with icmp-port-unreachable`,
    `${filter} -A LIBVIRT_FWX -i ${TAP} -o ${TAP} -j ACCEPT`,
    `${nat} -A LIBVIRT_PRT -s ${NETWORK} -d 224.0.0.0/24 -j RETURN`,
    `${nat} -A LIBVIRT_PRT -s ${NETWORK} ! -d ${NETWORK} -p udp -j MASQUERADE --to-ports 1024-65535`,
    `${nat} -A LIBVIRT_PRT -s ${NETWORK} ! -d ${NETWORK} -j MASQUERADE`,
  ].join("\n");
}

/** What dockerd inserts when it starts, with an operator's rules for the guest, which FORWARD's policy would stop. */
function docker(iptables: string): string {
  const [filter, nat] = [`${iptables} -w`, `${iptables} -w -t nat`];
  const stages = [1, 2].map((stage) => `DOCKER-ISOLATION-STAGE-${stage}`);
  return [
    ...["DOCKER", "DOCKER-BRIDGE", "DOCKER-CT", "DOCKER-FORWARD", ...stages, "DOCKER-USER"].map(
      (chain) => `${filter} -N ${chain}`,
    ),
    `${filter} -P FORWARD DROP`,
    `${nat} -N DOCKER`,
    `${nat} -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER`,
    `${nat} -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER`,
    `${nat} -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`,
    `${filter} -A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `${filter} -A ${stages[0]} -i docker0 ! -o docker0 -j ${stages[1]}`,
    `${filter} -A ${stages[1]} -o docker0 -j DROP`,
    `${filter} -A DOCKER-BRIDGE -o docker0 -j DOCKER`,
    `${filter} -A DOCKER ! -i docker0 -o docker0 -j DROP`,
    ...["DOCKER-CT", stages[0], "DOCKER-BRIDGE"].map((chain) => `${filter} -A DOCKER-FORWARD -j ${chain}`),
    `${filter} -A DOCKER-FORWARD -i docker0 -j ACCEPT`,
    `${filter} -A DOCKER-USER -i ${TAP} -p udp --dport ${FORBIDDEN} -j DROP`,
    `${filter} -A DOCKER-USER -i ${TAP} -j ACCEPT`,
    `${filter} -A DOCKER-USER -o ${TAP} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `${filter} -I FORWARD 1 -j DOCKER-FORWARD`,
    `${filter} -I FORWARD 1 -j DOCKER-USER`,
  ].join("\n");
}
