#include "walk/network_devices.h"

#include "doctest/doctest.h"
#include "running_kernel.h"
#include "snapshot/snapshot.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kUnmapped{0xffff'c900'dead'b000};
constexpr std::string_view kMac{"\x52\x54\0\x12\x34\x56", 6};
constexpr std::string_view kLocal4{"\x7f\0\0\1", 4}, kOther4{"\xc0\0\2\7", 4};
constexpr std::string_view kLocal6{"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16};
constexpr uint32_t kContainer = 4026532200;

WalkResult walked(const Kernel& kernel) {
  auto result = walk(kernel, {}, {});
  REQUIRE(result.has_value());
  return std::move(*result);
}

std::vector<std::string> names(const NetNamespace& row) {
  std::vector<std::string> found;
  REQUIRE(row.devices.has_value());
  for (const NetDevice& device : *row.devices) found.push_back(device.name);
  return found;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("network devices: each namespace has its own, in the kernel's order") {
  FakeKernel kernel;
  kernel.addDevice(kernel.initNet(), {});
  kernel.addDevice(kernel.initNet(), {.name = "ens3", .index = 2, .mac = kMac, .physical = true});
  const auto container = kernel.addNet(kContainer);
  kernel.addDevice(container, {.name = "eth0", .index = 2, .mac = kMac});
  kernel.addNet(kContainer + 1);
  const auto result = walked(kernel.kernel());
  REQUIRE(result.namespaces.size() == 3);
  CHECK(result.namespaces[0].inode == FakeKernel::kNetInum);
  CHECK(result.namespaces[0].initial == true);
  CHECK(names(result.namespaces[0]) == Names{"lo", "ens3"});
  CHECK(result.namespaces[0].devices->at(0).physical == false);
  CHECK(result.namespaces[0].devices->at(1).physical == true);
  CHECK(result.namespaces[0].devices->at(1).index == 2);
  CHECK(result.namespaces[0].devices->at(1).mac == std::array<uint8_t, 6>{0x52, 0x54, 0, 0x12, 0x34, 0x56});
  CHECK(result.namespaces[1].inode == kContainer);
  CHECK(result.namespaces[1].initial == false);
  CHECK(names(result.namespaces[1]) == Names{"eth0"});
  CHECK(result.namespaces[1].devices->at(0).physical == false);
  CHECK(names(result.namespaces[2]).empty());
  CHECK(clean(result.quality));
}

TEST_CASE("network devices: they have their addresses, IPv4 first") {
  FakeKernel kernel;
  const auto lo = kernel.addDevice(kernel.initNet(), {});
  kernel.addIpv6(lo, kLocal6);
  kernel.addIpv4(lo, kOther4);
  kernel.addIpv4(lo, kLocal4);
  const auto result = walked(kernel.kernel());
  const auto& addresses = result.namespaces.at(0).devices->at(0).addresses;
  REQUIRE(addresses.size() == 3);
  CHECK(addresses[0] == DeviceAddress{{127, 0, 0, 1}, 4});
  CHECK(addresses[1] == DeviceAddress{{192, 0, 2, 7}, 4});
  CHECK(addresses[2] == DeviceAddress{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 6});
  CHECK(clean(result.quality));
}

TEST_CASE("network devices: a name that fills its field and has no end is taken as far as the field goes") {
  FakeKernel kernel;
  kernel.addDevice(kernel.initNet(), {.name = "0123456789abcdef"});
  CHECK(names(walked(kernel.kernel()).namespaces.at(0)) == Names{"0123456789abcdef"});
}

TEST_CASE("network devices: a link-layer address of another length is none") {
  FakeKernel kernel;
  kernel.addDevice(kernel.initNet(), {.name = "tun0", .mac = ""});
  const auto result = walked(kernel.kernel());
  CHECK_FALSE(result.namespaces.at(0).devices->at(0).mac.has_value());
  CHECK(clean(result.quality));
}

TEST_CASE("network devices: a member that the kernel lacks costs what it would have told") {
  FakeKernel fake;
  const auto lo = fake.addDevice(fake.initNet(), {.mac = kMac, .physical = true});
  fake.addIpv4(lo, kLocal4);
  fake.addIpv6(lo, kLocal6);
  Kernel kernel = fake.kernel();
  SUBCASE("which namespace is the initial one") {
    kernel.symbols.init_net.reset();
    CHECK_FALSE(walked(kernel).namespaces.at(0).initial.has_value());
  }
  SUBCASE("all devices") {
    kernel.layout.network.devices.reset();
    const auto result = walked(kernel);
    CHECK_FALSE(result.namespaces.at(0).devices.has_value());
    const auto snapshot = makeSnapshot(result);
    CHECK(snapshot.namespaces.flags == std::vector<uint8_t>{1 | 4});
    CHECK(snapshot.namespaces.devicesEnd == std::vector<uint32_t>{0});
  }
  SUBCASE("which are cards, and their MACs") {
    kernel.layout.network.devices->parent.reset();
    kernel.layout.network.devices->addr_len.reset();
    const auto result = walked(kernel);
    CHECK_FALSE(result.namespaces.at(0).devices->at(0).physical.has_value());
    CHECK_FALSE(result.namespaces.at(0).devices->at(0).mac.has_value());
    CHECK(makeSnapshot(result).devices.flags == std::vector<uint8_t>{4});
  }
  SUBCASE("addresses of one family") {
    kernel.layout.network.ipv6.reset();
    CHECK(walked(kernel).namespaces.at(0).devices->at(0).addresses ==
          std::vector{DeviceAddress{{127, 0, 0, 1}, 4}});
  }
  CHECK(clean(walked(kernel).quality));
}

TEST_CASE("network devices: what a guest breaks costs what it touches, and is counted") {
  FakeKernel kernel;
  const auto lo = kernel.addDevice(kernel.initNet(), {});
  const auto card = kernel.addDevice(kernel.initNet(), {.name = "ens3", .index = 2, .mac = kMac});
  const auto last = kernel.addDevice(kernel.initNet(), {.name = "ens4", .index = 3, .mac = kMac});
  const auto first4 = kernel.addIpv4(card, kLocal4);
  const auto second4 = kernel.addIpv4(card, kOther4);
  const auto address6 = kernel.addIpv6(card, kLocal6);

  SUBCASE("a link between devices that leads nowhere: the rest comes from the other end") {
    kernel.guest.write(lo.device, kUnmapped);
    const auto result = walked(kernel.kernel());
    CHECK(names(result.namespaces.at(0)) == Names{"lo", "ens4", "ens3"});
    CHECK(result.quality.badPointers == 1);
  }
  SUBCASE("a list of devices that leads back into itself") {
    kernel.guest.write(last.device, card.device);
    const auto result = walked(kernel.kernel());
    CHECK(names(result.namespaces.at(0)) == Names{"lo", "ens3", "ens4"});
    CHECK(result.quality.torn > 0);
  }
  SUBCASE("a MAC that is not there") {
    kernel.guest.write(card.device + 40, kUnmapped);
    const auto result = walked(kernel.kernel());
    CHECK_FALSE(result.namespaces.at(0).devices->at(1).mac.has_value());
    CHECK(result.quality.badPointers == 1);
  }
  SUBCASE("a chain of addresses that goes in circles ends") {
    kernel.guest.write(first4, second4);
    const auto result = walked(kernel.kernel());
    CHECK(result.quality.torn == 1);
    CHECK(result.namespaces.at(0).devices->at(1).addresses.size() < 8);
  }
  SUBCASE("addresses of another device") {
    kernel.guest.write(lo.device + 56, card.in);
    kernel.guest.write(lo.device + 64, card.in6);
    const auto result = walked(kernel.kernel());
    CHECK(result.namespaces.at(0).devices->at(0).addresses.empty());
    CHECK(result.namespaces.at(0).devices->at(1).addresses.size() == 3);
    CHECK(result.quality.torn == 2);
  }
  SUBCASE("an address that says it is another device's") {
    kernel.guest.write(second4 + 8, lo.in);
    kernel.guest.write(address6 + 16, lo.in6);
    const auto result = walked(kernel.kernel());
    CHECK(result.namespaces.at(0).devices->at(1).addresses.empty());
    CHECK(result.quality.torn == 2);
  }
  SUBCASE("addresses that are not there") {
    kernel.guest.write(card.device + 56, kUnmapped);
    kernel.guest.write(card.device + 64, kUnmapped);
    const auto result = walked(kernel.kernel());
    CHECK(result.namespaces.at(0).devices->at(1).addresses.empty());
    CHECK(result.quality.badPointers == 2);
  }
}

// Epochs of a walk that is done with processes and sockets in one round: the namespaces' second one.
constexpr int kAgain = 10;

TEST_CASE("network devices: of a guest that runs, what changed between two looks is looked at once more") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  const auto lo = kernel.addDevice(kernel.initNet(), {});
  const auto gone = kernel.addDevice(kernel.initNet(), {.name = "veth0", .index = 2});
  SUBCASE("nothing did") {
    const auto result = kernel.walked();
    CHECK(names(result.namespaces.at(0)) == Names{"lo", "veth0"});
    CHECK(result.quality.retries == 0);
  }
  SUBCASE("a device is taken out") {
    kernel.at(kAgain, [&] { kernel.removeDevice(gone); });
    const auto result = kernel.walked();
    CHECK(names(result.namespaces.at(0)) == Names{"lo"});
    CHECK(result.quality.retries > 0);
  }
  SUBCASE("one gets an address") {
    kernel.at(kAgain, [&] { kernel.addIpv4(lo, kLocal4); });
    CHECK(kernel.walked().namespaces.at(0).devices->at(0).addresses.size() == 1);
  }
  SUBCASE("a namespace comes") {
    kernel.at(kAgain, [&] { kernel.addDevice(kernel.addNet(kContainer), {}); });
    CHECK(kernel.walked().namespaces.size() == 2);
  }
  CHECK(clean(kernel.walked().quality));
}

TEST_CASE("network devices: what never reads the same twice is left out; addresses stand as they read last") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  const auto lo = kernel.addDevice(kernel.initNet(), {});
  const auto card = kernel.addDevice(kernel.initNet(), {.name = "a", .index = 2});
  SUBCASE("a name") {
    kernel.always([&](int epoch) { kernel.setName(card, epoch % 2 ? "a" : "b"); });
    const auto result = kernel.walked();
    CHECK(names(result.namespaces.at(0)) == Names{"lo"});
    CHECK(result.quality.abandoned == 1);
  }
  SUBCASE("addresses") {
    const auto address = kernel.addIpv4(lo, kLocal4);
    kernel.always([&](int epoch) { kernel.guest.write(address + 16, static_cast<uint32_t>(epoch)); });
    const auto result = kernel.walked();
    CHECK(names(result.namespaces.at(0)) == Names{"lo", "a"});
    CHECK(result.namespaces.at(0).devices->at(0).addresses.size() == 1);
    CHECK(result.quality.torn == 1);
    CHECK(result.quality.abandoned == 0);
  }
}
