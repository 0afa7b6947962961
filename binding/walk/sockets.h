#pragma once

#include <functional>
#include <optional>

#include "walk/ahead.h"
#include "walk/context.h"
#include "walk/socket.h"

namespace xfilter {

/// A struct request_sock, the smallest that makes a row, takes more.
inline constexpr uint64_t kMinSockSize = 256;

/// What a struct sock is, as far as it matters which rows it makes. A raw socket that writes its own header
/// is both a flow and an other socket.
struct SockKind {
  bool flow = false;
  bool mptcp = false;  // no row itself: its TCP subflows are
  std::optional<OtherKind> other;
};

/// Reads one struct sock that a file or a table leads to, a mini-socket (TIME_WAIT, NEW_SYN_RECV) too.
///
/// `socket` is filled where the kind is a flow, and its unownedReason where its own state is one. Empty, and
/// counted, where memory is missing.
std::optional<SockKind> readSock(WalkContext& walk, VirtualAddress sock, Socket& socket);

/// The cache lines of a full sock that `readSock` reads.
Lines sockLines(const Layout& layout);

/// Whether a TCP sock is a subflow of an MPTCP socket.
bool isMptcpSubflow(WalkContext& walk, VirtualAddress sock);

/// The row of a sock that is an other socket.
OtherSocket readOtherSock(WalkContext& walk, VirtualAddress sock, OtherKind kind);

/// Calls `visit` with the address of each TCP subflow of an MPTCP socket.
void forEachSubflow(WalkContext& walk, VirtualAddress mptcpSock,
                    const std::function<void(VirtualAddress)>& visit);

}  // namespace xfilter
