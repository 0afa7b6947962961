#include "walk/lists.h"

#include <algorithm>
#include <bit>

namespace xfilter {
namespace {

// Objects in lists of ours take more: a task and its stack, a namespace, a message with its data.
constexpr uint64_t kMinObject = 1 << 10;
// Nor is any of them longer in earnest: PID_MAX_LIMIT.
constexpr size_t kMaxNodes = 4 << 20;
// At one node, and at all of a list. A list that is really broken stays so.
constexpr uint32_t kMaxTriesAtNode = 8;
constexpr uint32_t kMaxTries = 1000;
constexpr uint32_t kMaxRings = 8;

class LiveList {
 public:
  LiveList(WalkContext& walk, VirtualAddress head, const NodeIdentity& identity)
      : walk_(walk), member_(walk.layout().list_head), head_(head), identity_(identity), path_{{head}} {}

  std::vector<LiveNode> take() {
    const size_t most = std::min(walk_.roomFor(kMinObject), kMaxNodes);
    while (walk_.budget.spend()) {
      if (path_.size() > most) {
        ++walk_.quality.limited;
        break;
      }
      const VirtualAddress at = path_.back().address;
      const VirtualAddress next = linkOf(at, member_.next);
      // A node that was taken out has no predecessor any more: list_del_rcu leaves only its `next`.
      const bool isConfirmed = next && linkOf(next, member_.prev) == at;
      if (isConfirmed && next == head_) break;
      if (isConfirmed && !isRing(next)) {
        push(next);
      } else if (!(isConfirmed ? startAgain() : goBack(next))) {
        ++walk_.quality.torn;
        takeFromOtherEnd(most);
        break;
      }
    }
    path_.erase(path_.begin());
    return std::move(path_);
  }

 private:
  VirtualAddress linkOf(VirtualAddress node, const Field& link) {
    orderReads();
    return walk_.memory.readPointer(node + link.offset).value_or(VirtualAddress{});
  }

  // A node that is in another list by now, its object having been freed, leads around in that one, where each
  // link confirms the other and none comes to the head. Brent: such a walk comes back to the node that it had
  // at some power of two.
  bool isRing(VirtualAddress next) const { return path_[std::bit_floor(path_.size()) - 1].address == next; }

  // Nobody knows which of the nodes was the first that was not in this list.
  bool startAgain() {
    path_.resize(1);
    if (++rings_ == kMaxRings) return false;
    ++walk_.quality.retries;
    return true;
  }

  void push(VirtualAddress node) { path_.push_back({node, identity_ ? identity_(node) : 0}); }

  // To the last node that is where it was when it was come to.
  bool goBack(VirtualAddress next) {
    triesHere_ = path_.size() == stuckAt_ ? triesHere_ + 1 : 0;
    stuckAt_ = path_.size();
    if (triesHere_ == kMaxTriesAtNode || ++tries_ == kMaxTries) return false;
    ++walk_.quality.retries;
    refresh(next);
    refresh(path_.back().address);
    while (path_.size() > 1 && !isInPlace()) {
      path_.pop_back();
      refresh(path_.back().address);
    }
    return true;
  }

  bool isInPlace() {
    const VirtualAddress before = path_[path_.size() - 2].address;
    const LiveNode last = path_.back();
    return linkOf(last.address, member_.prev) == before && linkOf(before, member_.next) == last.address &&
           (!identity_ || identity_(last.address) == last.identity);
  }

  void refresh(VirtualAddress node) {
    walk_.memory.refresh(node + member_.next.offset, sizeof(uint64_t));
    walk_.memory.refresh(node + member_.prev.offset, sizeof(uint64_t));
  }

  void takeFromOtherEnd(size_t most) {
    AddressIndex known;
    for (const LiveNode& node : path_) known.insert(node.address, 0);
    VirtualAddress from = head_;
    while (walk_.budget.spend() && path_.size() <= most) {
      const VirtualAddress node = linkOf(from, member_.prev);
      // The last one of the path may be gone by now, and the others must not come twice.
      if (known.contains(node) || linkOf(node, member_.next) != from) return;
      known.insert(node, 0);
      push(node);
      from = node;
    }
  }

  WalkContext& walk_;
  const decltype(Layout::list_head)& member_;
  VirtualAddress head_;
  const NodeIdentity& identity_;
  std::vector<LiveNode> path_;  // the head first
  size_t stuckAt_ = 0;
  uint32_t triesHere_ = 0, tries_ = 0, rings_ = 0;
};

}  // namespace

std::vector<LiveNode> followLiveList(WalkContext& walk, VirtualAddress head, const NodeIdentity& identity) {
  return LiveList(walk, head, identity).take();
}

}  // namespace xfilter
