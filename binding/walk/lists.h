#pragma once

#include <functional>
#include <vector>

#include "walk/context.h"

namespace xfilter {

/// A node of a list of a guest that runs.
struct LiveNode {
  VirtualAddress address;
  uint64_t identity = 0;

  friend auto operator<=>(const LiveNode&, const LiveNode&) = default;
};

/// Tells what a node is apart from what lies at its address later; 0 where nothing does.
using NodeIdentity = std::function<uint64_t(VirtualAddress node)>;

/// Each node of a circular list (struct list_head) of a guest that runs, but its head. A node counts that its
/// predecessor leads to and that leads back. Where one does not, it goes on from the last one that is still
/// where it was; where the nodes lead round past their head, from the head. Either counts a retry. Where that
/// does not help, the rest is taken from the other end, and it counts as torn.
///
/// `identity` is asked while the node is known to be in its place. If each node is still the same after the
/// list was followed, none was missed that was in it all the time (docs/consistency.md).
std::vector<LiveNode> followLiveList(WalkContext& walk, VirtualAddress head, const NodeIdentity& identity);

/// Visits each node of a circular doubly linked list (struct list_head) but its head. Each link must be
/// confirmed by the node that it leads to; where one is not, the rest is walked from the other end, and it
/// counts as torn. In a guest that runs, as `followLiveList` does it.
///
/// That is also what keeps the walk from going in circles: a node has one predecessor.
template <class Visit>
void forEachListNode(WalkContext& walk, VirtualAddress head, Visit visit) {
  if (walk.live()) {
    for (const LiveNode& node : followLiveList(walk, head, {})) visit(node.address);
    return;
  }
  const auto& member = walk.layout().list_head;
  const auto follow = [&](const Field& forward, const Field& backward, VirtualAddress stop) {
    auto node = walk.memory.readPointer(head + forward.offset);
    if (!node) ++walk.quality.badPointers;
    VirtualAddress previous = head;
    while (node && *node != head && *node != stop && walk.budget.spend()) {
      GuestObject links(walk.memory, *node);
      const VirtualAddress next = links.pointer(forward);
      const VirtualAddress back = links.pointer(backward);
      if (!links.ok() || back != previous) {
        ++(links.ok() ? walk.quality.torn : walk.quality.badPointers);
        return previous;
      }
      visit(*node);
      previous = *node;
      node = next;
    }
    return VirtualAddress{0};
  };
  const VirtualAddress broken = follow(member.next, member.prev, head);
  if (broken) follow(member.prev, member.next, broken);
}

}  // namespace xfilter
