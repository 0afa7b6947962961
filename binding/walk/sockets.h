#pragma once

#include <functional>
#include <optional>

#include "walk/context.h"
#include "walk/socket.h"

namespace xfilter {

/// What a struct sock is, as far as it matters which rows it makes.
enum class SockKind : uint8_t {
  kFlow,   // a row
  kMptcp,  // no row itself: its TCP subflows are
  kOther,  // of another family or protocol
};

/// Reads one struct sock, which must be a full one (no TIME_WAIT or NEW_SYN_RECV mini-socket).
///
/// `socket` is filled where the kind is kFlow. Empty, and counted, where memory is missing.
std::optional<SockKind> readSock(WalkContext& walk, VirtualAddress sock, Socket& socket);

/// Calls `visit` with the address of each TCP subflow of an MPTCP socket.
void forEachSubflow(WalkContext& walk, VirtualAddress mptcpSock,
                    const std::function<void(VirtualAddress)>& visit);

}  // namespace xfilter
