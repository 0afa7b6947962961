#include "walk/unheld_sockets.h"

#include "walk/net_namespaces.h"
#include "walk/socket_tables.h"
#include "walk/sockets.h"
#include "walk/unowned.h"

namespace xfilter {

void addUnheldSockets(WalkContext& walk, HeldSockets& held) {
  const auto namespaces = listNetNamespaces(walk);
  Unowned unowned(walk, namespaces, held.rings);
  const size_t most = walk.roomFor(kMinSockSize);
  size_t seen = held.sockets.size();
  forEachTableSock(walk, namespaces, [&](VirtualAddress address) {
    const auto row = static_cast<uint32_t>(held.sockets.size());
    if (seen >= most) {
      ++walk.quality.limited;
      return;
    }
    if (!held.rows.insert(address, row).second) return;
    ++seen;
    Socket socket;
    const auto kind = readSock(walk, address, socket);
    if (!kind || !kind->flow) return;
    if (socket.unownedReason == UnownedReason::kNone) {
      const bool isTcp = socket.protocol == Protocol::kTcp;
      socket.mptcp = isTcp && isMptcpSubflow(walk, address);
      socket.unownedReason = unowned.reasonOf(address, isTcp);
    }
    held.sockets.push_back(socket);
  });
}

}  // namespace xfilter
