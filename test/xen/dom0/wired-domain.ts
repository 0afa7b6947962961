import { mkdtemp } from "node:fs/promises";
import { run } from "../../../vmcore-fixtures/command.ts";
import { LabUsers, makeOutside } from "../../../vmcore-fixtures/lab-users.ts";
import { type Attachment, makeWire, type Wire } from "../../../vmcore-fixtures/lab-wire.ts";
import { listed, liveDomain } from "./domain.ts";

/** The outside's network card as the guest sees it: whose else it remembers, it talks to for eight seconds in vain. */
const OUTSIDE_CARD = "52:54:00:77:01:0a";
/** Of a device of netback's that is on a bridge. */
const NOBODYS_CARD = "fe:ff:ff:ff:ff:ff";

/** A domain whose users talk to an outside of its own, by its network device in Dom0. */
export class WiredDomain {
  readonly users: LabUsers;
  private readonly wire: Wire;

  private constructor(users: LabUsers, wire: Wire) {
    this.users = users;
    this.wire = wire;
  }

  static async open(name: string, attachment: Attachment): Promise<WiredDomain> {
    const wire = makeWire("a", attachment);
    await wire.open(false);
    const outside = await makeOutside(wire, "/share/lab", await mkdtemp("/tmp/outside-"));
    const [enter, ...words] = outside.enter as [string, ...string[]];
    await run(enter, [...words, "ip", "link", "set", "eth0", "address", OUTSIDE_CARD]);
    const vif = `vif${(await listed(name)).id}.0`;
    const card = attachment === "routed" ? OUTSIDE_CARD : NOBODYS_CARD;
    await run("ip", ["link", "set", vif, "nomaster", "down"]); // or its address stays
    await run("ip", ["link", "set", vif, "address", card]);
    await wire.connect(vif, "guest");
    const domain = liveDomain(name);
    return new WiredDomain(new LabUsers((text) => domain.command(text), outside), wire);
  }

  async close(): Promise<void> {
    await run("ip", ["link", "delete", this.wire.uplink]);
    await this.users.outside.close();
    await this.wire.close();
  }
}
