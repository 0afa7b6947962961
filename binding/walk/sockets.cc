#include "walk/sockets.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "walk/process.h"

namespace xfilter {
namespace {

// include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h
constexpr uint32_t kAfInet = 2;
constexpr uint32_t kAfInet6 = 10;
constexpr uint32_t kSockStream = 1;
constexpr uint32_t kSockDgram = 2;
constexpr uint32_t kSockRaw = 3;
constexpr uint32_t kIpprotoIcmp = 1;
constexpr uint32_t kIpprotoTcp = 6;
constexpr uint32_t kIpprotoUdp = 17;
constexpr uint32_t kIpprotoIcmpv6 = 58;
constexpr uint32_t kIpprotoUdplite = 136;
constexpr uint32_t kIpprotoMptcp = 262;
constexpr uint8_t kTcpEstablished = 1;
constexpr uint8_t kTcpListen = 10;

// An MPTCP socket has at most 8 subflows of the path manager's and those that user space adds.
constexpr size_t kMaxSubflows = 1024;

struct Kind {
  SockKind kind;
  Protocol protocol;
};

Kind classify(uint32_t type, uint32_t protocol) {
  if (type == kSockRaw) return {SockKind::kFlow, Protocol::kRaw};
  if (type == kSockStream && protocol == kIpprotoTcp) return {SockKind::kFlow, Protocol::kTcp};
  if (type == kSockStream && protocol == kIpprotoMptcp) return {SockKind::kMptcp, Protocol::kTcp};
  if (type == kSockDgram && protocol == kIpprotoUdp) return {SockKind::kFlow, Protocol::kUdp};
  if (type == kSockDgram && protocol == kIpprotoUdplite) return {SockKind::kFlow, Protocol::kUdplite};
  if (type == kSockDgram && (protocol == kIpprotoIcmp || protocol == kIpprotoIcmpv6)) {
    return {SockKind::kFlow, Protocol::kIcmp};
  }
  return {SockKind::kOther, Protocol::kTcp};
}

uint16_t networkOrder(uint64_t port) { return __builtin_bswap16(static_cast<uint16_t>(port)); }

// A v4-mapped address (::ffff:a.b.c.d) becomes the IPv4 address that it stands for: that is what is on the
// wire.
bool unmap(std::array<uint8_t, 16>& address) {
  constexpr std::array<uint8_t, 12> kPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (!std::equal(kPrefix.begin(), kPrefix.end(), address.begin())) return false;
  std::copy(address.begin() + 12, address.end(), address.begin());
  std::fill(address.begin() + 4, address.end(), uint8_t{0});
  return true;
}

void readAddresses(const Layout& layout, GuestObject& sock, Socket& socket) {
  const auto& member = layout.sock;
  if (socket.family == 4) {
    sock.copy(member.rcv_saddr.offset, socket.localAddress.data(), 4);
    sock.copy(member.daddr.offset, socket.remoteAddress.data(), 4);
    socket.localIsIpv4 = socket.remoteIsIpv4 = true;
    return;
  }
  sock.copy(member.v6_rcv_saddr->offset, socket.localAddress.data(), socket.localAddress.size());
  sock.copy(member.v6_daddr->offset, socket.remoteAddress.data(), socket.remoteAddress.size());
  const bool wildcard = socket.localAddress == std::array<uint8_t, 16>{};
  const bool ipv6Only = member.ipv6only && sock.integer(*member.ipv6only) != 0;
  const bool receivesAny =
      socket.protocol == Protocol::kTcp ? socket.state == kTcpListen : socket.state != kTcpEstablished;
  // Raw and ping sockets of IPv6 never receive IPv4.
  const bool carriesIpv4 = socket.protocol != Protocol::kRaw && socket.protocol != Protocol::kIcmp;
  socket.dualStack = wildcard && !ipv6Only && receivesAny && carriesIpv4 && socket.localPort != 0 &&
                     member.ipv6only.has_value();
  socket.localIsIpv4 = unmap(socket.localAddress);
  socket.remoteIsIpv4 = unmap(socket.remoteAddress);
}

// The inode that /proc/net shows: of the struct socket, which lies in a struct socket_alloc beside it. A sock
// that has no struct socket has none.
uint64_t readInode(WalkContext& walk, VirtualAddress socket) {
  if (!socket) return 0;
  const auto& member = walk.layout().socket;
  GuestObject alloc(walk.memory, socket - member.socket.offset);
  const uint64_t inode = alloc.integer(member.inode);
  if (!alloc.ok()) ++walk.quality.badPointers;
  return inode;
}

}  // namespace

std::optional<SockKind> readSock(WalkContext& walk, VirtualAddress address, Socket& socket) {
  const auto& member = walk.layout().sock;
  GuestObject sock(walk.memory, address);
  const uint32_t family = sock.integer32(member.family);
  const auto kind = classify(sock.integer32(member.type), sock.integer32(member.protocol));
  if (!sock.ok()) {
    ++walk.quality.badPointers;
    return std::nullopt;
  }
  if (family != kAfInet && (family != kAfInet6 || !member.v6_daddr || !member.v6_rcv_saddr))
    return SockKind::kOther;
  if (kind.kind != SockKind::kFlow) return kind.kind;

  socket.sock = address;
  socket.protocol = kind.protocol;
  socket.family = family == kAfInet ? 4 : 6;
  socket.state = static_cast<uint8_t>(sock.integer(member.state));
  // inet_num of a raw socket is its protocol; elsewhere inet_sport, as /proc/net and getsockname have it:
  // inet_num is cleared when a reset connection gives its port back.
  socket.localPort = kind.protocol == Protocol::kRaw
                         ? static_cast<uint16_t>(sock.integer(member.num))
                         : networkOrder(sock.integer(walk.layout().inet_sock.sport));
  socket.remotePort = kind.protocol == Protocol::kRaw
                          ? uint16_t{0}
                          : networkOrder(sock.integer(walk.layout().inet_sock.dport));
  socket.uid = member.uid ? sock.integer32(*member.uid) : kNoId;
  if (member.bound_dev_if) socket.boundInterface = sock.integer32(*member.bound_dev_if);
  readAddresses(walk.layout(), sock, socket);
  if (member.net)
    socket.netns = walk.namespaceNumber(sock.pointer(*member.net), walk.layout().ns_common.netInum);
  socket.inode = readInode(walk, sock.pointer(member.socket));
  if (!sock.ok()) {
    ++walk.quality.badPointers;
    return std::nullopt;
  }
  return SockKind::kFlow;
}

void forEachSubflow(WalkContext& walk, VirtualAddress mptcpSock,
                    const std::function<void(VirtualAddress)>& visit) {
  const auto& mptcp = walk.layout().mptcp;
  if (!mptcp) return;
  // The first subflow of a listener or of a socket that is not connected is not in the list in every release.
  GuestObject msk(walk.memory, mptcpSock);
  const VirtualAddress first = msk.pointer(mptcp->first);
  if (!msk.ok()) {
    ++walk.quality.badPointers;
    return;
  }
  if (first) visit(first);
  size_t count = 0;
  forEachListNode(walk, mptcpSock + mptcp->conn_list.offset, [&](VirtualAddress node) {
    if (++count > kMaxSubflows) {
      ++walk.quality.limited;
      return;
    }
    GuestObject context(walk.memory, node - mptcp->node.offset);
    const VirtualAddress subflow = context.pointer(mptcp->tcp_sock);
    if (!context.ok()) {
      ++walk.quality.badPointers;
    } else if (subflow && subflow != first) {
      visit(subflow);
    }
  });
}

}  // namespace xfilter
