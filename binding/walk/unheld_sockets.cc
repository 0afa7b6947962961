#include "walk/unheld_sockets.h"

#include <algorithm>

#include "walk/net_namespaces.h"
#include "walk/socket_tables.h"
#include "walk/sockets.h"
#include "walk/unowned.h"

namespace xfilter {
namespace {

constexpr size_t kMaxSocks = 4 << 20;  // far above what guests have in earnest

/// Calls `visit` with each sock of the tables that `held` does not have.
template <class Visit>
void forEachUnheld(WalkContext& walk, std::span<const VirtualAddress> namespaces, HeldSockets& held,
                   Visit visit) {
  const size_t most = std::min(walk.roomFor(kMinSockSize), kMaxSocks);
  size_t seen = held.sockets.size();
  forEachTableSock(walk, namespaces, [&](VirtualAddress address) {
    if (seen >= most) {
      ++walk.quality.limited;
      return;
    }
    if (!held.rows.insert(address, static_cast<uint32_t>(held.sockets.size())).second) return;
    ++seen;
    visit(address);
  });
}

// Empty if it makes no row.
std::optional<Socket> readUnheld(WalkContext& walk, Unowned& unowned, VirtualAddress address) {
  Socket socket;
  const auto kind = readSock(walk, address, socket);
  if (!kind || !kind->flow) return std::nullopt;
  if (socket.unownedReason == UnownedReason::kNone) {
    const bool isTcp = socket.protocol == Protocol::kTcp;
    socket.mptcp = isTcp && isMptcpSubflow(walk, address);
    socket.unownedReason = unowned.reasonOf(address, isTcp);
  }
  return socket;
}

// A node of a chain knows the link that leads to it.
bool isInTable(WalkContext& walk, VirtualAddress sock) {
  const auto& member = *walk.layout().tables;
  for (const Field& field : {member.node, member.bind_node}) {
    const VirtualAddress node = sock + field.offset;
    const auto link = walk.memory.readPointer(node + member.pprev.offset);
    orderReads();
    if (link && *link && walk.memory.readPointer(*link) == node) return true;
  }
  return false;
}

/// A sock that was found in a table of a guest that runs, and the row that it made when it was last read.
struct Candidate {
  VirtualAddress sock;
  std::optional<Socket> row;
};

// Reads candidates again; those that read the same and were in their table before and after become rows.
// Returns the others that are still there.
std::vector<Candidate> confirm(WalkContext& walk, Unowned& unowned, std::vector<Candidate>& candidates,
                               std::vector<Socket>& rows) {
  std::vector<Candidate> left;
  const Lines lines = sockLines(walk.layout());
  forEachAhead(
      walk.memory, candidates,
      [&](const Candidate& candidate) { lines.prefetch(walk.memory, candidate.sock); },
      [&](Candidate& candidate) {
        if (!isInTable(walk, candidate.sock)) return;
        orderReads();
        const auto now = readUnheld(walk, unowned, candidate.sock);
        orderReads();
        if (!isInTable(walk, candidate.sock)) return;
        if (!now || !candidate.row) {
          if (now) left.push_back({candidate.sock, now});
          return;
        }
        // What says why nobody holds it has to be as it was, too: who opened it meanwhile may hold it.
        const UnownedReason reason = now->unownedReason;
        if (candidate.row->unownedReason != reason) candidate.row->unownedReason = UnownedReason::kUnknown;
        Socket row = *now;
        row.unownedReason = candidate.row->unownedReason;
        if (row == *candidate.row) {
          rows.push_back(row);
        } else {
          left.push_back({candidate.sock, now});
        }
      });
  return left;
}

void addLive(WalkContext& walk, HeldSockets& held) {
  constexpr int kRounds = 4;
  if (!walk.budget.spendLong()) return;
  walk.renew(Pass::kTables);
  const auto namespaces = listNetNamespaces(walk);
  std::vector<Candidate> candidates;
  const Quality before = walk.quality;
  {
    Unowned unowned(walk, namespaces, held.rings);
    forEachUnheld(walk, namespaces, held, [&](VirtualAddress address) {
      candidates.push_back({address, readUnheld(walk, unowned, address)});
    });
  }
  const uint32_t torn = walk.quality.torn;
  for (int round = 0; round < kRounds && !candidates.empty() && walk.budget.spendLong(); ++round) {
    walk.quality.forgive(before);
    walk.renew(round == 0 ? Pass::kTablesAgain : Pass::kOther);
    Unowned unowned(walk, namespaces, held.rings);
    candidates = confirm(walk, unowned, candidates, held.sockets);
    if (round + 1 < kRounds) walk.quality.retries += static_cast<uint32_t>(candidates.size());
  }
  walk.quality.torn = torn;
  walk.quality.abandoned += static_cast<uint32_t>(candidates.size());
}

}  // namespace

void addUnheldSockets(WalkContext& walk, HeldSockets& held) {
  if (walk.live()) {
    addLive(walk, held);
    return;
  }
  const auto namespaces = listNetNamespaces(walk);
  Unowned unowned(walk, namespaces, held.rings);
  forEachUnheld(walk, namespaces, held, [&](VirtualAddress address) {
    if (const auto row = readUnheld(walk, unowned, address)) held.sockets.push_back(*row);
  });
}

}  // namespace xfilter
