import { sentTo } from "./frame.ts";
import { GuestNetwork, HOST, OUTSIDE, sh, TAP } from "./network.ts";

export const BRIDGE = "br0";
/** The host's device towards the outside. */
export const UP = "up0";
/** Between whom the packets of the conformance kit are. */
const KIT = {
  guest: { v4: "192.0.2.10", v6: "2001:db8::10" },
  peer: { v4: "198.51.100.20", v6: "2001:db8:1::20" },
};

/** A guest's network between whose devices iptables stands: what arrives is counted behind it, in the guest and outside. */
export class TablesNetwork extends GuestNetwork {
  constructor(way: "filtered" | "routed") {
    super(way);
    // A host that has an address there sends into the bridge, too.
    if (way === "filtered") sh(`ip addr flush dev ${BRIDGE}`);
    const ends = [this.guest, this.outside!];
    for (const end of ends) {
      end.sh(`nft "table netdev counted { chain in { type filter hook ingress device eth0 priority 0
        ip saddr { 10.0.0.0/8, ${KIT.guest.v4}, ${KIT.peer.v4} } counter; ip6 saddr 2001:db8::/16 ip6 daddr 2001:db8::/16 ip6 nexthdr != 58 counter; }; }"`);
    }
    if (way === "routed") {
      for (const address of Object.values(OUTSIDE)) this.neighbour(address, macOf(this.outside!), UP);
      for (const address of Object.values(KIT.peer)) this.#route(address, macOf(this.outside!), UP);
      for (const address of Object.values(KIT.guest)) this.#route(address, macOf(this.guest), TAP);
      this.guest.sh(`ip route add default via ${HOST.v4}; ip -6 route add default via ${HOST.v6}`);
      this.outside!.sh("ip route add default via 10.2.0.1; ip -6 route add default via 2001:db8:2::1");
    } else {
      this.guest.sh("ip route add default dev eth0; ip -6 route add default dev eth0");
      this.outside!.sh(`ip addr add ${HOST.v4}/24 dev eth0; ip addr add ${HOST.v6}/64 dev eth0 nodad`);
    }
  }

  #route(address: string, mac: string, device: string): void {
    sh(`ip route add ${address} dev ${device}`);
    this.neighbour(address, mac, device);
  }

  /** How many of the frames come from the guest to the outside. */
  sent(...frames: Buffer[]): number {
    const before = this.arrived("outside");
    this.send("out", ...frames.map((frame) => this.fromGuest(frame)));
    return this.arrived("outside") - before;
  }

  /** How many of the frames come from the outside to the guest. */
  received(...frames: Buffer[]): number {
    const before = this.arrived("guest");
    this.send("in", ...frames);
    return this.arrived("guest") - before;
  }

  /** A router forwards only what is sent to it. */
  fromGuest(frame: Buffer): Buffer {
    return this.way === "routed" ? sentTo(sh(`cat /sys/class/net/${TAP}/address`).trim(), frame) : frame;
  }

  arrived(end: "guest" | "outside"): number {
    const text = (end === "guest" ? this.guest : this.outside!).sh("nft list chain netdev counted in");
    return [...text.matchAll(/packets (\d+)/g)].reduce((sum, [, packets]) => sum + Number(packets), 0);
  }

  /** Whether a connection that the guest opens is "made", "refused" or still "asked for" after a while. */
  connect(address: string, port: number): "made" | "refused" | "asked for" {
    const said = this.guest.sh(
      `timeout 1 bash -c "echo > /dev/tcp/${address}/${port}" 2>&1 && echo made || echo failed`,
    );
    if (said.includes("refused")) return "refused";
    return said.includes("made") ? "made" : "asked for";
  }
}

function macOf(end: { sh(command: string): string }): string {
  return end.sh("ip -br link show eth0").split(/\s+/)[2]!;
}
