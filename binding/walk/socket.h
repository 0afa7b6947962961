#pragma once

#include <array>
#include <cstdint>

#include "memory/address.h"

namespace xfilter {

enum class Protocol : uint8_t { kTcp, kUdp, kUdplite, kRaw, kIcmp };

/// A socket of AF_INET or AF_INET6 as its struct sock shows it.
struct Socket {
  VirtualAddress sock;
  uint64_t inode = 0;  // 0: none
  uint32_t uid = 0;    // sk_uid; kNoId where the kernel keeps none
  uint32_t netns = 0;  // 0: unknown
  uint32_t boundInterface = 0;
  // 16 bytes of IPv6; an IPv4 address, also one mapped into IPv6, in the first 4.
  std::array<uint8_t, 16> localAddress{};
  std::array<uint8_t, 16> remoteAddress{};
  uint16_t localPort = 0;  // of a raw socket, the IP protocol
  uint16_t remotePort = 0;
  Protocol protocol = Protocol::kTcp;
  uint8_t family = 4;  // 4 or 6: the socket's own
  uint8_t state = 0;   // TCP_ESTABLISHED = 1, …
  bool dualStack = false;
  bool mptcp = false;
  bool localIsIpv4 = false;
  bool remoteIsIpv4 = false;
};

/// Process `process` (its row) holds socket `socket` (its row) open as descriptor `fd`.
struct Owner {
  uint32_t socket = 0;
  uint32_t process = 0;
  uint32_t fd = 0;

  friend bool operator==(const Owner&, const Owner&) = default;
};

}  // namespace xfilter
