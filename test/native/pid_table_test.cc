#include "walk/pid_table.h"

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kNamespace{0xffff'8881'0000'0000};
constexpr VirtualAddress kNodes{0xffff'8881'0001'0000};
constexpr VirtualAddress kPids{0xffff'8881'1000'0000};

/// A pid namespace whose table is made by hand: nodes of struct xa_node { u8 shift; void *slots[]; }.
class PidTable : public FakeKernel {
 public:
  explicit PidTable(uint32_t slots = 64) : slots_(slots) {
    guest.reserve(kNamespace, 256);
    guest.reserve(kNodes, 64 * kPageSize);
  }

  /// A node of the table, as an entry leads to it.
  uint64_t node(uint8_t shift) {
    const VirtualAddress at = kNodes + used_++ * 1024;
    guest.write(at, shift);
    return at.value + 2;
  }
  void set(uint64_t node, uint64_t slot, uint64_t entry) {
    guest.write(VirtualAddress{node - 2} + 8 + slot * 8, entry);
  }
  void setHead(uint64_t entry) { guest.write(kNamespace + 8, entry); }

  /// What is visited, and how well.
  std::pair<std::vector<uint64_t>, Quality> visited() {
    Kernel found = kernel();
    found.layout.pidTable->slots.elements = slots_;
    WalkContext walk{found, KernelMemory(found.space), Budget({}, std::chrono::minutes(1))};
    std::vector<uint64_t> pids;
    forEachPid(walk, kNamespace, [&](VirtualAddress pid) { pids.push_back(pid.value); });
    return {pids, walk.quality};
  }

 private:
  uint32_t slots_;
  uint64_t used_ = 0;
};

uint64_t pid(uint64_t i) { return kPids.value + i * 64; }

}  // namespace

TEST_CASE("pid table: one pid needs no node; none, nothing") {
  PidTable table;
  CHECK(table.visited().first.empty());
  table.setHead(pid(1));
  CHECK(table.visited().first == std::vector{pid(1)});
}

TEST_CASE("pid table: its pids in order, through nodes of any height, of 64 slots or of 16") {
  for (const uint32_t slots : {64U, 16U}) {
    CAPTURE(slots);
    const uint8_t bits = slots == 64 ? 6 : 4;
    PidTable table(slots);
    const uint64_t top = table.node(static_cast<uint8_t>(2 * bits)), middle = table.node(bits);
    const uint64_t first = table.node(0), last = table.node(0);
    table.setHead(top);
    table.set(top, 0, middle);
    table.set(middle, 0, first);
    table.set(middle, slots - 1, last);
    table.set(first, 1, pid(1));
    table.set(first, slots - 1, pid(2));
    table.set(last, 0, pid(3));
    table.set(last, 5, 0x406);  // reserved, and not taken yet: the array's own
    const auto [pids, quality] = table.visited();
    CHECK(pids == std::vector{pid(1), pid(2), pid(3)});
    CHECK(quality.torn + quality.badPointers + quality.limited == 0);
  }
}

TEST_CASE("pid table: a node that leads to itself, or is higher than what leads to it, is not gone into") {
  PidTable table;
  const uint64_t top = table.node(6), leaf = table.node(0), high = table.node(12);
  table.setHead(top);
  table.set(top, 0, top);
  table.set(top, 1, leaf);
  table.set(top, 2, high);
  table.set(leaf, 0, pid(1));
  const auto [pids, quality] = table.visited();
  CHECK(pids == std::vector{pid(1)});
  CHECK(quality.torn == 2);
}

TEST_CASE("pid table: nodes that share their children make no more pids than the guest has room for") {
  PidTable table;
  std::vector<uint64_t> nodes;
  for (const uint8_t shift : {30, 24, 18, 12, 6, 0}) nodes.push_back(table.node(shift));
  table.setHead(nodes.front());
  for (size_t level = 0; level < nodes.size(); ++level) {
    for (uint64_t slot = 0; slot < 64; ++slot) {
      table.set(nodes[level], slot, level + 1 < nodes.size() ? nodes[level + 1] : pid(1));
    }
  }
  const auto [pids, quality] = table.visited();
  CHECK(quality.limited > 0);
  uint64_t memory = 0;
  for (const MemoryRange& range : table.guest.memory().ranges()) memory += range.size;
  CHECK(pids.size() <= memory / 64);
}

TEST_CASE("pid table: a table that is not there is counted, and has none") {
  PidTable table;
  table.setHead(0xffff'c900'dead'b002);
  const auto [pids, quality] = table.visited();
  CHECK(pids.empty());
  CHECK(quality.badPointers == 1);
}
