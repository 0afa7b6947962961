import { describe, expect, it } from "vitest";
import { tapOfFdinfo } from "../../lib/sources/descriptors.ts";
import { toDevices, toLinks } from "../../lib/sources/host-links.ts";
import { parseInfoNetwork } from "../../lib/sources/info-network.ts";
import { ownedByHost } from "../../lib/sources/named-interfaces.ts";

describe("a descriptor's fdinfo", () => {
  const common = "pos:\t0\nflags:\t0104002\nmnt_id:\t25\nino:\t1093\n";
  it.each([
    ["of a tap names it", `${common}iff:\tvnet0\n`, "vnet0"],
    ["of a tap whose name has blanks within names all of it", `${common}iff:\tvm 1\n`, "vm 1"],
    ["of /dev/net/tun without a device names none", `${common}iff:\t\n`, null],
    ["of something else names none", common, null],
    ["that could not be read names none", "", null],
  ])("%s", (_, text, name) => {
    expect(tapOfFdinfo(text)).toBe(name);
  });
});

describe("QEMU's `info network`", () => {
  it("tells what each card is connected to, by name or by descriptor", () => {
    const text = [
      "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01",
      " \\ net0: index=0,type=tap,ifname=vm1,script=no,downscript=no",
      "virtio-net-pci.1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:02",
      " \\ hostnet1: index=0,type=tap,fd=33",
      " \\ hostnet1: index=1,type=tap,fd=34",
      "e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:03",
      " \\ u: index=0,type=user,net=10.0.2.0,restrict=off",
    ].join("\r\n");
    const tap = { type: "tap", ifname: null, fd: null };
    expect(parseInfoNetwork(text)).toEqual([
      { ...tap, ifname: "vm1", mac: "52:54:00:00:00:01" },
      { ...tap, fd: 33, mac: "52:54:00:00:00:02" },
      { ...tap, fd: 34, mac: "52:54:00:00:00:02" },
      { ...tap, type: "user", mac: "52:54:00:00:00:03" },
    ]);
  });
  it("tells the networks behind a hub, and not the hub", () => {
    const text = [
      "hub 0",
      " \\ hub0port1: #net017: index=0,type=user,net=10.0.2.0,restrict=off",
      " \\ hub0port0: e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56",
      "e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56",
      " \\ hub0port0: index=0,type=hubport,",
    ].join("\n");
    expect(parseInfoNetwork(text).map(({ type }) => type)).toEqual(["user"]);
  });
  it("tells nothing of what no card is connected to", () => {
    expect(parseInfoNetwork("net0: index=0,type=tap,ifname=vm1,script=no,downscript=no\r\n")).toEqual([]);
    expect(parseInfoNetwork("")).toEqual([]);
  });
});

it("links are told by name, with what made them", () => {
  const links = toLinks([
    { ifindex: 1, ifname: "lo", link_type: "loopback", address: "00:00:00:00:00:00" },
    {
      ...{ ifindex: 7, ifname: "vm1", link_type: "ether", address: "fe:54:00:00:00:01", master: "br0" },
      linkinfo: { info_kind: "tun", info_slave_kind: "bridge" },
    },
    { ifindex: 8, ifname: "tun0", link_type: "none", linkinfo: { info_kind: "tun" } },
    {
      ...{ ifindex: 2, ifname: "eth0", link_type: "ether", address: "02:00:00:00:00:01" },
      ...{ parentbus: "pci", parentdev: "0000:03:00.0", phys_port_name: "p0" },
    },
    {},
  ]);
  const made = { master: null, bus: null, device: null, port: null };
  expect([...links.values()]).toEqual([
    { ...made, name: "lo", index: 1, mac: null, kind: "loopback" },
    { ...made, name: "vm1", index: 7, mac: "fe:54:00:00:00:01", kind: "tun", master: "br0" },
    { ...made, name: "tun0", index: 8, mac: null, kind: "tun" },
    {
      ...made,
      name: "eth0",
      index: 2,
      mac: "02:00:00:00:00:01",
      kind: null,
      bus: "pci",
      device: "0000:03:00.0",
      port: "p0",
    },
  ]);
});

it("routes tell their devices, those of several ways all of them", () => {
  const several = { dst: "default", nexthops: [{ dev: "eth1" }, { dev: "eth2" }, {}] };
  expect(toDevices([{ dst: "default", gateway: "192.0.2.1", dev: "eth0" }, several, {}])).toEqual([
    "eth0",
    "eth1",
    "eth2",
  ]);
});

describe("a device that is named as a guest's", () => {
  const made = {
    name: "dev",
    index: 7,
    mac: "02:00:00:00:00:01",
    kind: null,
    master: null,
    bus: null,
    device: null,
    port: null,
  };
  it.each([
    ["a tap", { kind: "tun" }, false],
    ["one end of a pair", { kind: "veth" }, false],
    ["a Xen guest's", { bus: "xen-backend" }, false],
    ["what stands for a part of a card that a guest has", { bus: "pci", port: "pf0vf1" }, false],
    ["a card", { bus: "pci" }, true],
    ["a port of a card", { bus: "pci", port: "p0" }, true],
    ["a card of a machine that is a guest itself", { bus: "virtio" }, true],
    ["a VLAN", { kind: "vlan" }, true],
    ["a bond", { kind: "bond" }, true],
    ["a tap by which the machine reaches the world", { kind: "tun", name: "uplink" }, true],
  ])("%s", (_, link, refused) => {
    expect(ownedByHost({ ...made, ...link }, new Set(["uplink"])) !== null).toBe(refused);
  });
});
