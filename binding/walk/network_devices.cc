#include "walk/network_devices.h"

#include <algorithm>
#include <bit>

#include "walk/lists.h"
#include "walk/net_namespaces.h"

namespace xfilter {
namespace {

constexpr size_t kMaxName = 16;            // IFNAMSIZ
constexpr uint64_t kMinDevice = 1024;      // A struct net_device takes more.
constexpr size_t kMaxDevices = 1 << 20;    // far above what guests have in earnest
constexpr size_t kMaxAddresses = 1 << 20;  // of all devices together
constexpr int kRounds = 4;

/// Reads all namespaces once.
class Reading {
 public:
  explicit Reading(WalkContext& walk) : walk_(walk), layout_(walk.layout().network) {}

  std::vector<NetNamespace> take() {
    std::vector<NetNamespace> namespaces;
    for (const VirtualAddress net : listNetNamespaces(walk_)) {
      NetNamespace row{.net = net, .inode = walk_.namespaceNumber(net, walk_.layout().ns_common.netInum)};
      if (const auto& initial = walk_.kernel.symbols.init_net) row.initial = net == *initial;
      if (layout_.devices) row.devices = devicesOf(net);
      namespaces.push_back(std::move(row));
    }
    return namespaces;
  }

 private:
  std::vector<NetDevice> devicesOf(VirtualAddress net) {
    const auto& member = *layout_.devices;
    std::vector<NetDevice> devices;
    forEachListNode(walk_, net + member.dev_base_head.offset, [&](VirtualAddress node) {
      if (devicesLeft_ == 0) {
        ++walk_.quality.limited;
        return;
      }
      --devicesLeft_;
      if (auto device = read(node - member.dev_list.offset)) devices.push_back(std::move(*device));
    });
    return devices;
  }

  std::optional<NetDevice> read(VirtualAddress address) {
    const auto& member = *layout_.devices;
    GuestObject object(walk_.memory, address);
    NetDevice device{.device = address, .index = object.integer32(member.ifindex)};
    std::array<char, kMaxName> name{};
    object.copy(member.name.offset, name.data(), std::min<size_t>(name.size(), member.name.size));
    device.name.assign(name.begin(), std::find(name.begin(), name.end(), '\0'));
    if (member.parent) device.physical = object.pointer(*member.parent).value != 0;
    if (member.dev_addr && member.addr_len) device.mac = macOf(object);
    if (layout_.ipv4) addIpv4(device, object.pointer(layout_.ipv4->ip_ptr));
    if (layout_.ipv6) addIpv6(device, object.pointer(layout_.ipv6->ip6_ptr));
    if (object.ok()) return device;
    ++walk_.quality.badPointers;
    return std::nullopt;
  }

  // Other kinds of devices have link-layer addresses of other lengths, or none.
  std::optional<std::array<uint8_t, 6>> macOf(GuestObject& device) {
    std::array<uint8_t, 6> mac{};
    const auto& member = *layout_.devices;
    if (device.integer(*member.addr_len) != mac.size()) return std::nullopt;
    if (walk_.memory.read(device.pointer(*member.dev_addr), mac.data(), mac.size())) return mac;
    ++walk_.quality.badPointers;
    return std::nullopt;
  }

  // A chain whose nodes know what they belong to, but not their predecessor.
  void addIpv4(NetDevice& device, VirtualAddress inDevice) {
    if (!inDevice) return;
    const auto& member = *layout_.ipv4;
    GuestObject owner(walk_.memory, inDevice);
    VirtualAddress node = owner.pointer(member.ifa_list);
    if (!isOf(owner, member.dev, device.device)) return;
    // Brent: what goes in circles comes back to the node at some power of two.
    VirtualAddress mark;
    for (uint64_t steps = 1; node && walk_.budget.spend(); ++steps) {
      if (node == mark) {
        ++walk_.quality.torn;
        return;
      }
      if (std::has_single_bit(steps)) mark = node;
      GuestObject object(walk_.memory, node);
      DeviceAddress address{.family = 4};
      object.copy(member.ifa_local.offset, address.bytes.data(), sizeof(uint32_t));
      node = object.pointer(member.ifa_next);
      if (!isOf(object, member.ifa_dev, inDevice) || !add(device, address)) return;
    }
  }

  void addIpv6(NetDevice& device, VirtualAddress inet6Device) {
    if (!inet6Device) return;
    const auto& member = *layout_.ipv6;
    GuestObject owner(walk_.memory, inet6Device);
    if (!isOf(owner, member.dev, device.device)) return;
    forEachListNode(walk_, inet6Device + member.addr_list.offset, [&](VirtualAddress node) {
      GuestObject object(walk_.memory, node - member.if_list.offset);
      DeviceAddress address{.family = 6};
      object.copy(member.addr.offset, address.bytes.data(), address.bytes.size());
      if (isOf(object, member.idev, inet6Device)) add(device, address);
    });
  }

  /// Whether the object is there and leads back to what led to it.
  bool isOf(GuestObject& object, const Field& back, VirtualAddress expected) {
    const bool same = object.pointer(back) == expected;
    if (object.ok() && same) return true;
    ++(object.ok() ? walk_.quality.torn : walk_.quality.badPointers);
    return false;
  }

  bool add(NetDevice& device, const DeviceAddress& address) {
    if (addressesLeft_ == 0) {
      ++walk_.quality.limited;
      return false;
    }
    --addressesLeft_;
    device.addresses.push_back(address);
    return true;
  }

  WalkContext& walk_;
  const Layout::Network& layout_;
  size_t devicesLeft_ = std::min(walk_.roomFor(kMinDevice), kMaxDevices);
  size_t addressesLeft_ = kMaxAddresses;
};

bool isSame(const NetNamespace& a, const NetNamespace& b) { return a.net == b.net && a.inode == b.inode; }

bool isSame(const NetDevice& a, const NetDevice& b) {
  return a.device == b.device && a.index == b.index && a.name == b.name && a.mac == b.mac &&
         a.physical == b.physical;
}

/// Takes out of `now` the rows that were not the same in `before`, and counts them; calls `keep` with each
/// other one and what it was.
template <class Row, class Keep>
void eraseNew(WalkContext& walk, const std::vector<Row>& before, VirtualAddress Row::*address,
              std::vector<Row>& now, Keep keep) {
  AddressIndex places;
  for (uint32_t i = 0; i < before.size(); ++i) places.insert(before[i].*address, i);
  std::erase_if(now, [&](Row& row) {
    if (places.contains(row.*address)) {
      const Row& was = before[*places.insert(row.*address, 0).first];
      if (isSame(was, row)) {
        keep(was, row);
        return false;
      }
    }
    ++walk.quality.abandoned;
    return true;
  });
}

/// Leaves of `now` what was so in `before`, too. A device stays while it is the same, whatever becomes of its
/// addresses: else one that changes them all the time could hide.
void keepStanding(WalkContext& walk, const std::vector<NetNamespace>& before,
                  std::vector<NetNamespace>& now) {
  eraseNew(walk, before, &NetNamespace::net, now, [&](const NetNamespace& was, NetNamespace& row) {
    if (!was.devices || !row.devices) return;
    eraseNew(walk, *was.devices, &NetDevice::device, *row.devices,
             [&](const NetDevice& a, const NetDevice& b) {
               if (a.addresses != b.addresses) ++walk.quality.torn;
             });
  });
}

}  // namespace

std::vector<NetNamespace> readNetNamespaces(WalkContext& walk) {
  if (!walk.live()) return Reading(walk).take();
  if (!walk.budget.spendLong()) return {};
  walk.renew(Pass::kNamespaces);
  const Quality before = walk.quality;
  auto rows = Reading(walk).take();
  for (int round = 1; walk.budget.spendLong(); ++round) {
    walk.quality.forgive(before);
    walk.quality.limited = before.limited;
    walk.renew(round == 1 ? Pass::kNamespacesAgain : Pass::kOther);
    auto now = Reading(walk).take();
    if (now == rows) break;
    if (round == kRounds) {
      keepStanding(walk, rows, now);
      return now;
    }
    ++walk.quality.retries;
    rows = std::move(now);
  }
  return rows;
}

}  // namespace xfilter
