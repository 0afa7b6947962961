#include "paging/x86_64.h"

#include <cstring>

namespace xfilter {
namespace {

// A page-table entry (Intel SDM vol. 3, 4.5; AMD APM vol. 2, 5.3):
//
//   63  62..52   51..12                     11..8   7    6..1   0
//   NX  ignored  frame, or next table's     ...     PS   ...    P
//
// PS in level 2 or 3 ends the walk: the entry maps 2 MiB or 1 GiB. Bit 12 of such an entry is PAT, not
// address, which the alignment of the frame removes.
constexpr uint64_t kPresent = 1;
constexpr uint64_t kLargePage = 1 << 7;
constexpr uint64_t kFrameMask = 0x000f'ffff'ffff'f000;
constexpr int kBitsPerLevel = 9;
constexpr int kPageShift = 12;

bool isCanonical(VirtualAddress address, int levels) {
  const int signBits = 64 - (kPageShift + levels * kBitsPerLevel);
  const auto extended = static_cast<int64_t>(address.value << signBits) >> signBits;
  return static_cast<uint64_t>(extended) == address.value;
}

std::optional<uint64_t> readEntry(const PhysicalMemory& memory, PhysicalAddress address) {
  const auto bytes = memory.view(address);
  uint64_t entry = 0;
  if (bytes.size() < sizeof entry) return std::nullopt;
  std::memcpy(&entry, bytes.data(), sizeof entry);
  return entry;
}

}  // namespace

std::optional<Translation> AddressSpace::translate(VirtualAddress address) const {
  if (!isCanonical(address, levels_)) return std::nullopt;
  PhysicalAddress table = root_;
  for (int level = levels_; level >= 1; --level) {
    const int shift = kPageShift + (level - 1) * kBitsPerLevel;
    const uint64_t index = (address.value >> shift) & ((1U << kBitsPerLevel) - 1);
    const auto entry = readEntry(*memory_, table + index * sizeof(uint64_t));
    if (!entry || !(*entry & kPresent)) return std::nullopt;
    const bool large = (level == 2 || level == 3) && (*entry & kLargePage);
    if (level == 1 || large) {
      const uint64_t pageSize = uint64_t{1} << shift;
      const uint64_t frame = *entry & kFrameMask & ~(pageSize - 1);
      return Translation{{frame | (address.value & (pageSize - 1))}, pageSize};
    }
    table = {*entry & kFrameMask};
  }
  return std::nullopt;
}

}  // namespace xfilter
