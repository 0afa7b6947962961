#pragma once

#include <array>
#include <compare>
#include <cstdint>

#include "memory/address.h"

namespace xfilter {

enum class Protocol : uint8_t { kTcp, kUdp, kUdplite, kRaw, kIcmp };

/// Why no process holds a socket. lib/socket.ts has the names, in this order.
enum class UnownedReason : uint8_t {
  kNone,         // a process does
  kTimeWait,     // closed by both sides; the kernel keeps the tuple for a while
  kSynRecv,      // a connection request that a listener has not completed
  kOrphan,       // closed by its process; what is in its queue is still sent
  kNotAccepted,  // in a listener's accept queue
  kInFlight,     // in a message between processes (SCM_RIGHTS)
  kIoUring,      // a registered file of an io_uring instance
  kKernel,       // made by the kernel for itself
  kUnknown,
};

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
  UnownedReason unownedReason = UnownedReason::kNone;
  bool dualStack = false;
  bool mptcp = false;
  bool localIsIpv4 = false;
  bool remoteIsIpv4 = false;

  friend bool operator==(const Socket&, const Socket&) = default;
};

/// A socket that sends past every flow: a filter must know that it cannot see it. lib/other-socket.ts has the
/// names.
enum class OtherKind : uint8_t { kPacket, kVsock, kXdp, kSctp, kDccp, kSmc, kRawHeader };

struct OtherSocket {
  VirtualAddress sock;
  uint64_t inode = 0;
  uint32_t netns = 0;
  OtherKind kind = OtherKind::kPacket;

  friend bool operator==(const OtherSocket&, const OtherSocket&) = default;
};

/// Process `process` (its row) holds socket `socket` (its row) open as descriptor `fd`.
struct Owner {
  uint32_t socket = 0;
  uint32_t process = 0;
  uint32_t fd = 0;

  friend auto operator<=>(const Owner&, const Owner&) = default;
};

}  // namespace xfilter
