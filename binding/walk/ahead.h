#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernel/type_source.h"
#include "paging/kernel_memory.h"

namespace xfilter {

/// Visits each item, while the guest's memory that those further on will need is on its way: `prefetch(item)`
/// asks for it, `visit(item)` reads it.
template <class Items, class Prefetch, class Visit>
void forEachAhead(const KernelMemory& memory, Items& items, Prefetch prefetch, Visit visit) {
  // As many as a core has misses under way at once, each item being one to a few. What is copied comes with
  // the first that is missing, all that was asked for in one system call: for hundreds that is worth it.
  const size_t ahead = memory.fetches() ? 512 : 8;
  const size_t count = items.size();
  for (size_t i = 0; i < std::min(ahead, count); ++i) prefetch(items[i]);
  for (size_t i = 0; i < count; ++i) {
    if (i + ahead < count) prefetch(items[i + ahead]);
    visit(items[i]);
  }
}

/// The cache lines of a structure in which the members lie that its reader wants.
class Lines {
 public:
  void add(const Field& field) { add(field.offset); }
  void add(const std::optional<Field>& field) {
    if (field) add(field->offset);
  }
  void add(uint32_t offset) {
    const uint32_t line = offset / kLine * kLine;
    if (std::find(offsets_.begin(), offsets_.end(), line) == offsets_.end()) offsets_.push_back(line);
  }
  void prefetch(KernelMemory& memory, VirtualAddress object) const {
    for (const uint32_t offset : offsets_) memory.prefetch(object + offset);
  }

 private:
  static constexpr uint32_t kLine = 64;
  std::vector<uint32_t> offsets_;
};

}  // namespace xfilter
