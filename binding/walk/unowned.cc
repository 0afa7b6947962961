#include "walk/unowned.h"

#include "walk/sockets.h"

namespace xfilter {

// A TCP subflow is held through its MPTCP socket: struct mptcp_subflow_context hangs on the subflow as its
// upper layer protocol and knows it.
VirtualAddress Unowned::holderOf(VirtualAddress sock) {
  const auto& member = walk_.layout().unheld;
  if (!member.ulp_data || !member.conn || !isMptcpSubflow(walk_, sock)) return sock;
  GuestObject tcp(walk_.memory, sock);
  GuestObject subflow(walk_.memory, tcp.pointer(*member.ulp_data));
  const VirtualAddress mptcp = subflow.pointer(*member.conn);
  return subflow.ok() && mptcp ? mptcp : sock;
}

UnownedReason Unowned::reasonOf(VirtualAddress sock, bool isTcp) {
  const auto& member = walk_.layout();
  GuestObject holder(walk_.memory, isTcp ? holderOf(sock) : sock);
  const VirtualAddress socket = holder.pointer(member.sock.socket);
  if (!socket) {
    // sock_orphan() marks it dead when its process closes it. A child that waits for accept() never had a
    // socket.
    if (!member.unheld.flags || !holder.ok()) return UnownedReason::kUnknown;
    const bool dead = (holder.integer(*member.unheld.flags) >> member.unheld.deadBit & 1) != 0;
    return dead ? UnownedReason::kOrphan : UnownedReason::kNotAccepted;
  }
  const auto file = walk_.memory.readPointer(socket + member.socket.file.offset);
  if (!file) return UnownedReason::kUnknown;
  if (!*file) return UnownedReason::kKernel;
  if (!files_) files_.emplace(walk_, namespaces_, rings_);
  return files_->reasonOf(*file);
}

}  // namespace xfilter
