#include "walk/owners.h"

#include <algorithm>
#include <numeric>

namespace xfilter {
namespace {

// Far above what guests have in earnest. Processes that share a table full of copies of one descriptor could
// claim any number: an unprivileged user of the guest can make such.
constexpr size_t kMaxOwners = 16 << 20;

size_t claims(const FdTables::Table& table) {
  return (table.lastHolder - table.firstHolder) * (table.lastDescriptor - table.firstDescriptor);
}

// Owners in the order of their rows: counted, then put where the counts say. A row's few are then sorted.
std::vector<Owner> byRow(const std::vector<Owner>& owners, size_t rows) {
  std::vector<size_t> ends(rows + 1);
  for (const Owner& owner : owners) ++ends[owner.socket + 1];
  std::partial_sum(ends.begin(), ends.end(), ends.begin());
  std::vector<Owner> placed(owners.size());
  for (const Owner& owner : owners) placed[ends[owner.socket]++] = owner;
  // Now ends[row] is where the row's owners end.
  size_t begin = 0;
  for (size_t row = 0; row < rows; ++row) {
    std::sort(placed.begin() + static_cast<ptrdiff_t>(begin),
              placed.begin() + static_cast<ptrdiff_t>(ends[row]), [](const Owner& a, const Owner& b) {
                return a.process != b.process ? a.process < b.process : a.fd < b.fd;
              });
    begin = ends[row];
  }
  // Threads with tables of their own may hold one socket under one number.
  placed.erase(std::unique(placed.begin(), placed.end()), placed.end());
  return placed;
}

}  // namespace

std::vector<Owner> ownersOf(WalkContext& walk, const FdTables& tables, const std::vector<Rows>& rowsOfFile,
                            size_t rows) {
  // Those who claim most come last: if it is too much, it is theirs that is left out.
  std::vector<const FdTables::Table*> order;
  for (const FdTables::Table& table : tables.tables) order.push_back(&table);
  std::stable_sort(order.begin(), order.end(), [](const FdTables::Table* a, const FdTables::Table* b) {
    return claims(*a) < claims(*b);
  });

  std::vector<Owner> owners;
  for (const FdTables::Table* table : order) {
    for (size_t i = table->firstDescriptor; i < table->lastDescriptor; ++i) {
      const Descriptor& descriptor = tables.descriptors[i];
      const Rows& of = rowsOfFile[descriptor.file];
      const size_t holders = table->lastHolder - table->firstHolder;
      if (of.count == 0) continue;
      if (!walk.budget.spend() || owners.size() + of.count * holders > kMaxOwners) {
        ++walk.quality.limited;
        return byRow(owners, rows);
      }
      for (uint32_t row = of.first; row < of.first + of.count; ++row) {
        for (size_t holder = table->firstHolder; holder < table->lastHolder; ++holder) {
          owners.push_back({row, tables.holders[holder].process, descriptor.fd});
        }
      }
    }
  }
  return byRow(owners, rows);
}

}  // namespace xfilter
