#include "walk/sockets.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "walk/lists.h"
#include "walk/process.h"

namespace xfilter {
namespace {

// include/linux/socket.h, include/linux/net.h, include/uapi/linux/in.h
constexpr uint32_t kAfInet = 2;
constexpr uint32_t kAfInet6 = 10;
constexpr uint32_t kAfPacket = 17;
constexpr uint32_t kAfVsock = 40;
constexpr uint32_t kAfSmc = 43;
constexpr uint32_t kAfXdp = 44;
constexpr uint32_t kSockStream = 1;
constexpr uint32_t kSockDgram = 2;
constexpr uint32_t kSockRaw = 3;
constexpr uint32_t kIpprotoIcmp = 1;
constexpr uint32_t kIpprotoTcp = 6;
constexpr uint32_t kIpprotoUdp = 17;
constexpr uint32_t kIpprotoDccp = 33;
constexpr uint32_t kIpprotoIcmpv6 = 58;
constexpr uint32_t kIpprotoSctp = 132;
constexpr uint32_t kIpprotoSmc = 256;  // AF_SMC by another name, since 6.11
constexpr uint32_t kIpprotoUdplite = 136;
constexpr uint32_t kIpprotoMptcp = 262;
constexpr uint8_t kTcpEstablished = 1;
constexpr uint8_t kTcpTimeWait = 6;
constexpr uint8_t kTcpListen = 10;
constexpr uint8_t kTcpNewSynRecv = 12;
constexpr uint32_t kInetFlagsHdrincl = 12;  // a bit of inet_flags

// An MPTCP socket has at most 8 subflows of the path manager's and those that user space adds.
constexpr size_t kMaxSubflows = 1024;

/// Sockets that make no flow, by what `socket()` was given; 0 stands for any protocol.
struct OtherEntry {
  uint32_t family, protocol;
  OtherKind kind;
};
constexpr std::array kOthers = {
    OtherEntry{kAfPacket, 0, OtherKind::kPacket},
    OtherEntry{kAfVsock, 0, OtherKind::kVsock},
    OtherEntry{kAfXdp, 0, OtherKind::kXdp},
    OtherEntry{kAfSmc, 0, OtherKind::kSmc},
    OtherEntry{kAfInet, kIpprotoSmc, OtherKind::kSmc},
    OtherEntry{kAfInet6, kIpprotoSmc, OtherKind::kSmc},
    OtherEntry{kAfInet, kIpprotoSctp, OtherKind::kSctp},
    OtherEntry{kAfInet6, kIpprotoSctp, OtherKind::kSctp},
    OtherEntry{kAfInet, kIpprotoDccp, OtherKind::kDccp},
    OtherEntry{kAfInet6, kIpprotoDccp, OtherKind::kDccp},
};

/// The kinds of flow, by type and protocol of AF_INET and AF_INET6.
struct FlowEntry {
  uint32_t type, protocol;
  Protocol flow;
};
constexpr std::array kFlows = {
    FlowEntry{kSockStream, kIpprotoTcp, Protocol::kTcp},
    FlowEntry{kSockDgram, kIpprotoUdp, Protocol::kUdp},
    FlowEntry{kSockDgram, kIpprotoUdplite, Protocol::kUdplite},
    FlowEntry{kSockDgram, kIpprotoIcmp, Protocol::kIcmp},
    FlowEntry{kSockDgram, kIpprotoIcmpv6, Protocol::kIcmp},
};

std::optional<OtherKind> otherKind(uint32_t family, uint32_t type, uint32_t protocol) {
  const auto* entry = std::find_if(kOthers.begin(), kOthers.end(), [&](const OtherEntry& e) {
    return e.family == family && (e.protocol == 0 || (e.protocol == protocol && type != kSockRaw));
  });
  if (entry == kOthers.end()) return std::nullopt;
  return entry->kind;
}

std::optional<Protocol> flowProtocol(uint32_t type, uint32_t protocol) {
  if (type == kSockRaw) return Protocol::kRaw;
  const auto* entry = std::find_if(kFlows.begin(), kFlows.end(), [&](const FlowEntry& e) {
    return e.type == type && e.protocol == protocol;
  });
  if (entry == kFlows.end()) return std::nullopt;
  return entry->flow;
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

// What full and mini-sockets have alike, in struct sock_common.
void readCommon(WalkContext& walk, GuestObject& sock, Socket& socket) {
  const auto& member = walk.layout().sock;
  socket.sock = sock.address();
  socket.remotePort = networkOrder(sock.integer(walk.layout().inet_sock.dport));
  if (member.bound_dev_if) socket.boundInterface = sock.integer32(*member.bound_dev_if);
  if (member.net) {
    socket.netns = walk.namespaceNumber(sock.pointer(*member.net), walk.layout().ns_common.netInum);
  }
  readAddresses(walk.layout(), sock, socket);
}

// struct inet_timewait_sock has no uid; it says FIN_WAIT2 in tw_substate only.
void readTimeWait(WalkContext& walk, GuestObject& sock, Socket& socket) {
  const auto& member = *walk.layout().tcp;
  socket.state = static_cast<uint8_t>(sock.integer(member.tw_substate));
  socket.localPort = networkOrder(sock.integer(member.tw_sport));
  socket.uid = kNoId;
  socket.unownedReason = UnownedReason::kTimeWait;
  readCommon(walk, sock, socket);
}

// struct request_sock belongs to the listener that it came to.
void readRequest(WalkContext& walk, GuestObject& sock, Socket& socket) {
  const auto& member = walk.layout().sock;
  socket.state = kTcpNewSynRecv;
  socket.localPort = static_cast<uint16_t>(sock.integer(member.num));
  socket.uid = kNoId;
  if (member.uid) {
    GuestObject listener(walk.memory, sock.pointer(walk.layout().tcp->listener));
    const uint32_t uid = listener.integer32(*member.uid);
    if (listener.ok()) {
      socket.uid = uid;
    } else {
      ++walk.quality.badPointers;
    }
  }
  socket.unownedReason = UnownedReason::kSynRecv;
  readCommon(walk, sock, socket);
}

void readFull(WalkContext& walk, GuestObject& sock, Socket& socket) {
  const auto& member = walk.layout().sock;
  // inet_num of a raw socket is its protocol; elsewhere inet_sport, as /proc/net and getsockname have it:
  // inet_num is cleared when a reset connection gives its port back.
  socket.localPort = socket.protocol == Protocol::kRaw
                         ? static_cast<uint16_t>(sock.integer(member.num))
                         : networkOrder(sock.integer(walk.layout().inet_sock.sport));
  socket.uid = member.uid ? sock.integer32(*member.uid) : kNoId;
  readCommon(walk, sock, socket);
  if (socket.protocol == Protocol::kRaw) socket.remotePort = 0;
  socket.inode = readInode(walk, sock.pointer(member.socket));
}

bool writesOwnHeader(const Layout& layout, GuestObject& sock) {
  const auto& member = layout.inet_sock;
  if (member.hdrincl) return sock.integer(*member.hdrincl) != 0;
  return member.inet_flags && (sock.integer(*member.inet_flags) >> kInetFlagsHdrincl & 1) != 0;
}

}  // namespace

std::optional<SockKind> readSock(WalkContext& walk, VirtualAddress address, Socket& socket) {
  const auto& member = walk.layout().sock;
  GuestObject sock(walk.memory, address);
  SockKind kind;
  const uint32_t family = sock.integer32(member.family);
  socket.state = static_cast<uint8_t>(sock.integer(member.state));
  const bool hasIpv6 = member.v6_daddr && member.v6_rcv_saddr;
  const bool isInet = family == kAfInet || (family == kAfInet6 && hasIpv6);
  socket.family = family == kAfInet6 ? 6 : 4;

  // Mini-sockets end before sk_type. Only TCP has them.
  if (isInet && walk.layout().tcp && (socket.state == kTcpTimeWait || socket.state == kTcpNewSynRecv)) {
    kind.flow = true;
    (socket.state == kTcpTimeWait ? readTimeWait : readRequest)(walk, sock, socket);
  } else {
    const uint32_t type = sock.integer32(member.type);
    const uint32_t protocol = sock.integer32(member.protocol);
    const auto flow = flowProtocol(type, protocol);
    kind.mptcp = isInet && type == kSockStream && protocol == kIpprotoMptcp;
    kind.flow = isInet && flow.has_value();
    if (!kind.flow) {
      kind.other = otherKind(family, type, protocol);
    } else {
      socket.protocol = *flow;
      readFull(walk, sock, socket);
      if (*flow == Protocol::kRaw && writesOwnHeader(walk.layout(), sock)) kind.other = OtherKind::kRawHeader;
    }
  }
  if (!sock.ok()) {
    ++walk.quality.badPointers;
    return std::nullopt;
  }
  return kind;
}

Lines sockLines(const Layout& layout) {
  const auto& member = layout.sock;
  Lines lines;
  for (const Field* field :
       {&member.family, &member.state, &member.daddr, &member.rcv_saddr, &member.num, &member.type,
        &member.protocol, &member.socket, &layout.inet_sock.sport, &layout.inet_sock.dport}) {
    lines.add(*field);
  }
  for (const auto* field :
       {&member.bound_dev_if, &member.net, &member.v6_daddr, &member.v6_rcv_saddr, &member.uid}) {
    lines.add(*field);
  }
  return lines;
}

bool isMptcpSubflow(WalkContext& walk, VirtualAddress sock) {
  const auto& member = walk.layout().unheld.is_mptcp;
  if (!member) return false;
  GuestObject tcp(walk.memory, sock);
  return tcp.integer(*member) != 0;
}

OtherSocket readOtherSock(WalkContext& walk, VirtualAddress address, OtherKind kind) {
  const auto& member = walk.layout().sock;
  GuestObject sock(walk.memory, address);
  OtherSocket other{.sock = address, .kind = kind};
  other.inode = readInode(walk, sock.pointer(member.socket));
  if (member.net) {
    other.netns = walk.namespaceNumber(sock.pointer(*member.net), walk.layout().ns_common.netInum);
  }
  return other;
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
  const auto visitNode = [&](VirtualAddress node) {
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
  };
  forEachListNode(walk, mptcpSock + mptcp->conn_list.offset, visitNode);
  // Those that joined while the socket was in use wait here for their place in the other list.
  if (mptcp->join_list) forEachListNode(walk, mptcpSock + mptcp->join_list->offset, visitNode);
}

}  // namespace xfilter
