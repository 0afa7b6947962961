#include "kernel/page_table_scan.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "kernel/kernel_image.h"

namespace xfilter {
namespace {

// The kernel's image lies in the last 2 GiB, so the last entry of a root table leads to it, and that entry is
// the same in the root tables of all processes. The kernel writes it as _KERNPG_TABLE or _PAGE_TABLE:
//
//   63..52   51..12            11..8   7    6..5  4..3  2     1   0
//   0        the next table    any     PS   any   any   user  W   P
//            within memory             0    any   0     any   1   1
constexpr uint64_t kLastEntry = kPageSize - sizeof(uint64_t);
constexpr uint64_t kFrameMask = 0x000f'ffff'ffff'f000;
constexpr uint64_t kFixedBits = 0xfff0'0000'0000'009b;
constexpr uint64_t kTableBits = 0x3;
constexpr uint64_t kScanChunk = 64 << 20;
// A guest full of what looks like root tables must not cost more than a moment.
constexpr size_t kMaxEntries = 1 << 14;
constexpr size_t kMaxFound = 32;
constexpr uint64_t kImageStep = uint64_t{2} << 20;

bool mapsSomething(const AddressSpace& space, Budget& budget) {
  for (uint64_t at = 0; at < kKernelImageSize && budget.spend(); at += kImageStep) {
    if (space.translate(kKernelImageBase + at)) return true;
  }
  return false;
}

}  // namespace

std::vector<AddressSpace> scanForPageTables(const PhysicalMemory& memory, PhysicalAddress end,
                                            Budget& budget) {
  std::vector<AddressSpace> found;
  std::unordered_set<uint64_t> seen;
  for (MemoryRange run = memory.nextStored({0}); run.size > 0 && run.start < end && budget.spend();
       run = memory.nextStored(run.start + run.size)) {
    run.size = std::min({run.size, kScanChunk, end.value - run.start.value});
    const uint64_t runEnd = run.start.value + run.size;
    for (uint64_t page = (run.start.value + kPageSize - 1) & ~(kPageSize - 1);
         page + kPageSize <= runEnd && budget.spend(); page += kPageSize) {
      const auto bytes = memory.view({page + kLastEntry});
      uint64_t entry = 0;
      if (bytes.size() < sizeof entry) continue;
      std::memcpy(&entry, bytes.data(), sizeof entry);
      if ((entry & kFixedBits) != kTableBits || seen.contains(entry)) continue;
      if (seen.size() == kMaxEntries || found.size() == kMaxFound) return found;
      if (memory.view({entry & kFrameMask}).size() < kPageSize) continue;
      seen.insert(entry);
      for (const int levels : {4, 5}) {
        const AddressSpace space(memory, {page}, levels);
        if (mapsSomething(space, budget)) found.push_back(space);
      }
    }
    memory.release(run);
  }
  return found;
}

}  // namespace xfilter
