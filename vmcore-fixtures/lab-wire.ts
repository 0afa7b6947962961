import { writeFile } from "node:fs/promises";
import { run } from "./command.ts";

/** Every guest has the same addresses, and so has every outside. */
export const labAddresses = {
  guest: { v4: "10.77.0.15", v6: "fd77::15" },
  outside: { v4: "10.77.0.1", v6: "fd77::1" },
  /** The machine itself, towards the first guest alone: traffic to it is not forwarded. */
  host: { v4: "10.77.0.2", v6: "fd77::2" },
} as const;

/** How guests are attached to the machine: by a bridge with their outside, or by its routing, which nobody at either end notices. */
export type Attachment = "bridged" | "routed";

const FAMILIES = ["v4", "v6"] as const;

async function ip(...words: string[]): Promise<void> {
  await run("ip", words);
}

/** What stands between a guest and its outside. */
export abstract class Wire {
  readonly letter: string;
  /** The guest's device on this machine, while it is not told another. */
  readonly tap: string;
  /** The machine's device towards the outside. */
  readonly uplink: string;
  readonly mac: string;

  constructor(letter: string) {
    this.letter = letter;
    this.tap = `tap-${letter}`;
    this.uplink = `out-${letter}`;
    this.mac = `52:54:00:77:00:0${letter}`;
  }

  /** `user`: who may open it. */
  async makeTap(tap = this.tap, user = 0): Promise<void> {
    await ip("tuntap", "add", tap, "mode", "tap", "user", `${user}`);
    await this.connect(tap, "guest");
  }

  /** A pair of devices, of which the other is in the network of a process. */
  async makeUplink(pid: number): Promise<void> {
    const there = ["type", "veth", "peer", "name", "eth0", "netns", `${pid}`];
    await ip("link", "add", this.uplink, ...there);
    const inside = (...words: string[]) => run("nsenter", [`--net=/proc/${pid}/ns/net`, "ip", ...words]);
    const { v4, v6 } = labAddresses.outside;
    await inside("link", "set", "lo", "up");
    await inside("address", "add", `${v4}/24`, "dev", "eth0");
    await inside("address", "add", `${v6}/64`, "dev", "eth0", "nodad");
    await inside("link", "set", "eth0", "up");
    await this.connect(this.uplink, "outside");
  }

  /** Before any device is made. `host`: the machine itself is to be reached by it, too. */
  abstract open(host: boolean): Promise<void>;
  /** Brings a device up that leads to one of the two ends. */
  abstract connect(device: string, to: "guest" | "outside"): Promise<void>;
  /** What is to be undone when the devices are gone. */
  abstract close(): Promise<void>;
}

class Bridged extends Wire {
  private readonly bridge = `br-${this.letter}`;

  async open(host: boolean): Promise<void> {
    await ip("link", "add", this.bridge, "up", "type", "bridge", "mcast_snooping", "0");
    if (host) await reachHost(this.bridge, this.bridge);
  }

  async connect(device: string): Promise<void> {
    await ip("link", "set", device, "master", this.bridge, "up");
  }

  async close(): Promise<void> {
    await ip("link", "delete", this.bridge);
  }
}

/** Two guests have the same addresses: which of them is meant, is told by where a packet came from. */
class Routed extends Wire {
  private host = false;
  private readonly table = `${this.letter.charCodeAt(0)}`;

  async open(host: boolean): Promise<void> {
    this.host = host;
    for (const setting of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) await set(setting, "1");
    await set("ipv4/conf/all/rp_filter", "0");
  }

  async connect(device: string, to: "guest" | "outside"): Promise<void> {
    const ends = labAddresses;
    await set(`ipv4/conf/${device}/rp_filter`, "0");
    await ip("link", "set", device, "up");
    // To each end the machine says that it is the other one.
    for (const family of ["ipv4", "ipv6"]) await set(`${family}/neigh/${device}/proxy_delay`, "0");
    await set(`ipv4/conf/${device}/proxy_arp`, "1");
    await set(`ipv6/conf/${device}/proxy_ndp`, "1");
    const others = to === "guest" ? [ends.outside, ends.host] : [ends.guest];
    for (const { v6 } of others) await ip("-6", "neighbour", "replace", "proxy", v6, "dev", device);
    for (const family of FAMILIES) {
      const [option, prefix] = optionOf(family, ends[to][family]);
      await forget(option, device);
      await ip(option, "rule", "add", "iif", device, "lookup", this.table);
      await ip(option, "route", "replace", prefix, "dev", device, "table", this.table);
    }
    if (this.host && to === "guest") await reachHost("lo", device);
  }

  async close(): Promise<void> {
    for (const family of FAMILIES) {
      const [option, prefix] = optionOf(family, labAddresses.host[family]);
      for (const device of [this.tap, this.uplink]) await forget(option, device);
      if (this.host) await ip(option, "address", "delete", prefix, "dev", "lo");
    }
    for (const setting of ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]) await set(setting, "0");
  }
}

function optionOf(family: "v4" | "v6", address: string): [option: string, prefix: string] {
  return family === "v4" ? ["-4", `${address}/32`] : ["-6", `${address}/128`];
}

/** Gives the machine its addresses, and a way to the guest. */
async function reachHost(device: string, towards: string): Promise<void> {
  const { guest, host } = labAddresses;
  for (const family of FAMILIES) {
    const [option, prefix] = optionOf(family, host[family]);
    await ip(option, "address", "replace", prefix, "dev", device, ...(family === "v6" ? ["nodad"] : []));
    const [, to] = optionOf(family, guest[family]);
    await ip(option, "route", "replace", to, "dev", towards, "src", host[family]);
  }
}

/** Where packets of a device go, if it was told. */
async function forget(option: string, device: string): Promise<void> {
  await ip(option, "rule", "delete", "iif", device).catch(() => {});
}

async function set(setting: string, value: string): Promise<void> {
  await writeFile(`/proc/sys/net/${setting}`, value);
}

const KINDS = { bridged: Bridged, routed: Routed };

export function makeWire(letter: string, attachment: Attachment): Wire {
  return new KINDS[attachment](letter);
}
