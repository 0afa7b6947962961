#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "walk/context.h"

namespace xfilter {

/// An address of a network device; IPv4 in the first 4 bytes.
struct DeviceAddress {
  std::array<uint8_t, 16> bytes{};
  uint8_t family = 4;  // 4 or 6

  friend bool operator==(const DeviceAddress&, const DeviceAddress&) = default;
};

/// A struct net_device.
struct NetDevice {
  VirtualAddress device;
  uint32_t index = 0;
  std::string name{};
  std::optional<std::array<uint8_t, 6>> mac{};
  /// Whether it hangs on a bus, as cards do: what the kernel makes of thin air (veth, bridge, tun) has no
  /// parent.
  std::optional<bool> physical{};
  std::vector<DeviceAddress> addresses{};

  friend bool operator==(const NetDevice&, const NetDevice&) = default;
};

/// A network namespace; whatever is empty could not be told.
struct NetNamespace {
  VirtualAddress net;
  uint32_t inode = 0;  // 0: unknown
  std::optional<bool> initial{};
  std::optional<std::vector<NetDevice>> devices{};

  friend bool operator==(const NetNamespace&, const NetNamespace&) = default;
};

/// Every network namespace, in the kernel's order, with its devices. In a guest that runs, what reads the
/// same twice: docs/consistency.md.
std::vector<NetNamespace> readNetNamespaces(WalkContext& walk);

}  // namespace xfilter
