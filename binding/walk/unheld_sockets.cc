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
  forEachTableSock(walk, namespaces, [&](VirtualAddress address) {
    const auto row = static_cast<uint32_t>(held.sockets.size());
    if (row >= most) {
      ++walk.quality.limited;
      return;
    }
    if (!held.rows.insert(address, row).second) return;
    Socket socket;
    const auto kind = readSock(walk, address, socket);
    if (!kind || !kind->flow) return;
    if (socket.unownedReason == UnownedReason::kNone) {
      socket.unownedReason = unowned.reasonOf(address, socket.protocol == Protocol::kTcp);
    }
    held.sockets.push_back(socket);
  });
}

}  // namespace xfilter
