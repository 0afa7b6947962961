#include "walk/fd_tables.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "walk/ahead.h"

namespace xfilter {
namespace {

constexpr uint32_t kBitsPerWord = 64;
constexpr uint64_t kPointer = sizeof(uint64_t);

bool readFdtable(WalkContext& walk, FdTableHeader& header) {
  const auto& member = walk.layout().fdtable;
  GuestObject table(walk.memory, header.fdtable);
  header.size = table.integer32(member.max_fds);
  header.slots = table.pointer(member.fd);
  header.bits = table.pointer(member.open_fds);
  if (!table.ok()) header.size = 0;
  return table.ok();
}

class FdTableReader {
 public:
  explicit FdTableReader(WalkContext& walk)
      : walk_(walk), layout_(walk.layout()), left_(walk.roomFor(kPointer)) {}

  FdTables take(std::span<const TableHolder> holders) {
    groupByTable(holders);
    readHeaders();
    const auto order = smallestFirst();
    forEachAhead(
        walk_.memory, order,
        [this](uint32_t table) {
          walk_.memory.prefetch(headers_[table].bits);
          walk_.memory.prefetch(headers_[table].slots);
        },
        [this](uint32_t table) {
          const size_t first = found_.descriptors.size();
          if (!readDescriptors(headers_[table])) {
            found_.descriptors.resize(first);
            fileOf_.resize(first);
          }
          found_.tables[table].firstDescriptor = first;
          found_.tables[table].lastDescriptor = found_.descriptors.size();
        });
    found_.headers = std::move(headers_);
    numberFiles();
    return std::move(found_);
  }

 private:
  void groupByTable(std::span<const TableHolder> holders) {
    AddressIndex known;
    std::vector<uint32_t> tableOf;
    tableOf.reserve(holders.size());
    for (const TableHolder& holder : holders) {
      const auto [table, isNew] = known.insert(holder.files, static_cast<uint32_t>(headers_.size()));
      if (isNew) headers_.push_back({.files = holder.files});
      tableOf.push_back(*table);
    }
    // Each table's holders become a run: counted, then put where the counts say.
    found_.tables.resize(headers_.size());
    for (const uint32_t table : tableOf) ++found_.tables[table].lastHolder;
    size_t end = 0;
    for (FdTables::Table& table : found_.tables) {
      table.firstHolder = end;
      end += table.lastHolder;
      table.lastHolder = table.firstHolder;
    }
    found_.holders.resize(holders.size());
    for (size_t i = 0; i < holders.size(); ++i) {
      found_.holders[found_.tables[tableOf[i]].lastHolder++] = holders[i];
    }
  }

  void readHeaders() {
    KernelMemory& memory = walk_.memory;
    const uint32_t fdt = layout_.files_struct.fdt.offset;
    forEachAhead(
        memory, headers_, [&](const FdTableHeader& header) { memory.prefetch(header.files + fdt); },
        [&](FdTableHeader& header) {
          header.fdtable = memory.readPointer(header.files + fdt).value_or(VirtualAddress{});
        });
    forEachAhead(
        memory, headers_, [&](const FdTableHeader& header) { memory.prefetch(header.fdtable); },
        [&](FdTableHeader& header) {
          ++(readFdtable(walk_, header) ? walk_.quality.fdTables : walk_.quality.badPointers);
        });
  }

  // So that a table that claims more than it can have costs itself, not those that are read after it.
  std::vector<uint32_t> smallestFirst() const {
    std::vector<uint32_t> order(headers_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [this](uint32_t a, uint32_t b) { return headers_[a].size < headers_[b].size; });
    return order;
  }

  // False, and counted, if the table is not what it claims to be.
  bool readDescriptors(const FdTableHeader& header) {
    // Each descriptor has a pointer in the guest's memory: there cannot be more of them than that has room
    // for.
    if (header.size > left_) {
      ++walk_.quality.limited;
      return false;
    }
    left_ -= header.size;
    for (uint64_t first = 0; first < header.size; first += kBitsPerWord) {
      if (!walk_.budget.spend()) return false;
      const auto word = walk_.memory.read<uint64_t>(header.bits + first / 8);
      if (!word) {
        ++walk_.quality.badPointers;
        return false;
      }
      const uint64_t left = header.size - first;
      const uint64_t open = left < kBitsPerWord ? *word & ((uint64_t{1} << left) - 1) : *word;
      if (open != 0) readWord(header.slots + first * kPointer, static_cast<uint32_t>(first), open);
    }
    return true;
  }

  // A bit may be set with no file behind it: a task inside accept() or open() has reserved it.
  void readWord(VirtualAddress slots, uint32_t firstFd, uint64_t open) {
    GuestObject pointers(walk_.memory, slots);
    for (; open != 0; open &= open - 1) {
      const auto bit = static_cast<uint32_t>(std::countr_zero(open));
      const VirtualAddress file{pointers.integer(bit * kPointer, kPointer)};
      if (!file) continue;
      ++walk_.quality.files;
      found_.descriptors.push_back({.fd = firstFd + bit});
      fileOf_.push_back(file);
    }
    if (!pointers.ok()) ++walk_.quality.badPointers;
  }

  // Several descriptors may have one file.
  void numberFiles() {
    // More than this is not in earnest: copies of a few descriptors, of which the index needs little.
    constexpr size_t kMostAtOnce = 1 << 16;
    AddressIndex known;
    known.reserve(std::min(fileOf_.size(), kMostAtOnce));
    auto descriptor = found_.descriptors.begin();
    forEachAhead(
        walk_.memory, fileOf_, [&](VirtualAddress file) { known.prefetch(file); },
        [&](VirtualAddress file) {
          const auto [index, isNew] = known.insert(file, static_cast<uint32_t>(found_.files.size()));
          if (isNew) found_.files.push_back(file);
          (descriptor++)->file = *index;
        });
  }

  WalkContext& walk_;
  const Layout& layout_;
  uint64_t left_;  // descriptors
  std::vector<FdTableHeader> headers_;
  std::vector<VirtualAddress> fileOf_;  // of each descriptor
  FdTables found_;
};

}  // namespace

bool readFdTableHeader(WalkContext& walk, FdTableHeader& header) {
  const auto fdtable = walk.memory.readPointer(header.files + walk.layout().files_struct.fdt.offset);
  header.fdtable = fdtable.value_or(VirtualAddress{});
  return readFdtable(walk, header);
}

FdTables readFdTables(WalkContext& walk, std::span<const TableHolder> holders) {
  return FdTableReader(walk).take(holders);
}

}  // namespace xfilter
