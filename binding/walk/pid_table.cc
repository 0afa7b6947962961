#include "walk/pid_table.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "walk/ahead.h"

namespace xfilter {
namespace {

constexpr uint64_t kPointer = sizeof(uint64_t);
constexpr uint64_t kMinPidSize = 64;  // struct pid takes more
constexpr size_t kPidMaxLimit = 4 << 20;

// An entry of an xarray (include/linux/xarray.h): its lower two bits are 00 for a pointer, 10 for what is the
// array's own, of which those above 4096 are nodes.
bool isNode(uint64_t entry) { return (entry & 3) == 2 && entry > 4096; }

class XarrayWalk {
 public:
  XarrayWalk(WalkContext& walk, const std::function<void(VirtualAddress)>& visit)
      : walk_(walk),
        member_(*walk.layout().pidTable),
        bitsPerLevel_(std::max<uint64_t>(std::bit_width(member_.slots.elements), 2) - 1),
        visit_(visit),
        left_(std::min<size_t>(walk.roomFor(kMinPidSize), kPidMaxLimit)) {}

  // A node's entries are `shift` bits apart, each level as many fewer than the one above as a node's slots
  // take: which ends every descent.
  void walkEntry(uint64_t entry, uint64_t maxShift) {
    if (!isNode(entry)) {
      if (entry != 0 && (entry & 3) == 0) visit_({entry});
      return;
    }
    GuestObject node(walk_.memory, {entry - 2});
    const uint64_t shift = node.integer(member_.shift);
    if (!node.ok() || shift > maxShift || shift % bitsPerLevel_ != 0) {
      ++(node.ok() ? walk_.quality.torn : walk_.quality.badPointers);
      return;
    }
    for (uint64_t i = 0; i < member_.slots.elements && walk_.budget.spend(); ++i) {
      const uint64_t child = node.integer(member_.slots.offset + i * kPointer, kPointer);
      if (child == 0 || (shift == 0 && isNode(child))) continue;
      // Nodes that share their children could make any number of entries.
      if (left_ == 0) {
        ++walk_.quality.limited;
        return;
      }
      --left_;
      walkEntry(child, shift == 0 ? 0 : shift - bitsPerLevel_);
    }
    if (!node.ok()) ++walk_.quality.badPointers;
  }

 private:
  WalkContext& walk_;
  const Layout::PidTable& member_;
  uint64_t bitsPerLevel_;  // XA_CHUNK_SHIFT: 6, and 4 in kernels of CONFIG_BASE_SMALL
  const std::function<void(VirtualAddress)>& visit_;
  size_t left_;  // entries that the guest's memory has room for
};

// Where a struct pid has the first task that has it as its thread group's.
VirtualAddress leaderLink(WalkContext& walk, VirtualAddress pid) {
  const auto& member = *walk.layout().pidTable;
  return pid + member.tasks.offset + member.tgidIndex * kPointer;
}

}  // namespace

void forEachPid(WalkContext& walk, VirtualAddress ns, const std::function<void(VirtualAddress)>& visit) {
  constexpr uint64_t kTopShift = 31;  // pids have 22 bits, an idr's ids 31
  const auto& table = walk.layout().pidTable;
  if (!table) return;
  const auto head = walk.memory.readPointer(ns + table->xa_head.offset);
  if (!head) {
    ++walk.quality.badPointers;
    return;
  }
  XarrayWalk(walk, visit).walkEntry(head->value, kTopShift);
}

void prefetchLeaders(WalkContext& walk) {
  if (!walk.layout().pidTable || !walk.kernel.symbols.init_pid_ns) return;
  const Quality before = walk.quality;
  std::vector<VirtualAddress> pids;
  forEachPid(walk, *walk.kernel.symbols.init_pid_ns, [&](VirtualAddress pid) { pids.push_back(pid); });
  forEachAhead(
      walk.memory, pids, [&](VirtualAddress pid) { walk.memory.prefetch(leaderLink(walk, pid)); },
      [&](VirtualAddress pid) {
        if (!walk.budget.spend()) return;
        if (const auto task = leaderOf(walk, pid))
          walk.memory.prefetch(task + walk.layout().task_struct.tasks.offset);
      });
  walk.quality = before;
}

VirtualAddress leaderOf(WalkContext& walk, VirtualAddress pid) {
  const auto& member = *walk.layout().pidTable;
  const auto first = walk.memory.readPointer(leaderLink(walk, pid));
  if (!first) {
    ++walk.quality.badPointers;
    return {};
  }
  if (!*first) return {};
  // struct task_struct: pid_links, a struct hlist_node (two pointers) each type.
  return *first - member.pid_links.offset - 2 * kPointer * member.tgidIndex;
}

}  // namespace xfilter
