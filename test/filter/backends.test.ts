import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createFilter, type Filter } from "../../lib/filter/index.ts";
import { type Guest, introspect } from "../../lib/index.ts";
import { run } from "../../vmcore-fixtures/command.ts";
import { alice, type Lab, mallory, noSshForMallory, startLab } from "../../vmcore-fixtures/lab.ts";
import type { Attachment } from "../../vmcore-fixtures/lab-wire.ts";
import { hostFirewalls } from "./host-firewall.ts";
import { event, flows, stands } from "./observing.ts";
import { type Site, scenarios } from "./scenarios.ts";

// By every firewall, and however guests are attached: the same rules have the same effect, and cost nobody else a byte.

describe.each<Attachment>(["bridged", "routed"])("%s guests", (attachment) => {
  const abort = new AbortController();
  let lab: Lab;
  let guests: readonly Guest[] = [];
  let site: Site;
  beforeAll(async () => {
    // What iptables sees of bridges is for the machine's owner to decide.
    if (attachment === "bridged")
      for (const tables of ["iptables", "ip6tables"])
        await run("sysctl", ["-qw", `net.bridge.bridge-nf-call-${tables}=1`]);
    lab = await startLab({ signal: abort.signal, attachment });
    guests = await Promise.all([lab.a, lab.b].map(({ live }) => introspect({ qemu: { qmp: live.qmp } })));
    const [a, b] = guests as [Guest, Guest];
    site = { attachment, lab, a, b };
    await lab.b.serve(mallory, ["tcp4:2222"]);
    await lab.b.serve(alice, ["tcp4:2223"]);
  });
  afterAll(async () => {
    for (const guest of guests) await guest.close();
    await lab?.close();
    abort.abort();
  });

  // nftables' rules are at the device itself, whatever is behind it.
  const firewalls = hostFirewalls.filter(({ name }) => attachment === "bridged" || name !== "nftables");
  describe.each(firewalls.map((firewall) => [firewall.name, firewall] as const))("%s", (_, firewall) =>
    scenarios(firewall, () => site),
  );

  // The last, since they cost the lab a guest; so all firewalls share it.
  describe("a guest that goes away under filters of every firewall", () => {
    let filters: readonly Filter[] = [];
    beforeAll(async () => {
      filters = hostFirewalls.map(({ backend, name }) => {
        const options = { guest: site.a, backend: backend(), id: name, rules: noSshForMallory, intervalMs: 200 };
        return createFilter(options);
      });
      for (const filter of filters) await filter.start();
    });
    afterAll(async () => {
      for (const filter of filters) await filter.stop();
    });

    it("boots anew: they say so, and go on", async () => {
      const blocked = await lab.a.talk({ uid: mallory, hold: ["tcp4:22"], drain: 500 });
      const events = filters.map((filter) => filter.events());
      const polls = filters.map((filter) => filter.status().polls);
      const polled = () => filters.every((filter, index) => filter.status().polls > polls[index]! + 1);
      await expect.poll(polled, { timeout: 60_000 }).toBe(true);
      expect(await stands(lab.a, blocked.started.held[0]!)).toBe(true);
      const { bootId } = filters[0]!.status();
      const { booted } = await lab.a.live.reset();
      for (const each of events) await event(each, "booted");
      await booted;
      for (const filter of filters) {
        await expect
          .poll(() => filter.status(), { timeout: 60_000 })
          .toMatchObject({ inForce: [], unreadableSince: null });
        expect(filter.status().bootId).not.toBe(bootId);
      }
      await lab.a.giveAddresses();
      const again = await lab.a.talk({ uid: mallory, hold: ["tcp4:80"] });
      await flows(again, ...again.started.held);
    });

    it("has its QEMU end: they end, and leave nothing in any firewall", async () => {
      const events = filters.map((filter) => filter.events());
      lab.a.live.qemu.kill("SIGKILL");
      for (const each of events) expect(await event(each, "ended")).toMatchObject({ error: { code: "SOURCE_GONE" } });
      for (const firewall of hostFirewalls) expect(await firewall.ours()).toEqual([]);
    });
  });
});
