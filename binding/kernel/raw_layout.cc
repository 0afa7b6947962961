#include "kernel/raw_layout.h"

#include <array>

namespace xfilter {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kFourGiB = uint64_t{4} << 30;

// How much of a large guest's memory lies below 4 GiB. QEMU: 2 GiB on q35, 3 GiB on i440fx and microvm, in
// machines before version 2.1 2.75 and 3.5 (hw/i386/pc_q35.c, pc_piix.c). Firecracker: 3.25. Smaller guests
// have all of it there.
constexpr std::array<uint64_t, 5> kLowSizes = {2048 * kMebibyte, 3072 * kMebibyte, 3584 * kMebibyte,
                                               2816 * kMebibyte, 3328 * kMebibyte};

}  // namespace

std::vector<MemoryMapEntry> RawLayout::map(uint64_t fileSize) const {
  if (!low) return {{{0}, fileSize, 0}};
  return {{{0}, *low, 0}, {{kFourGiB}, fileSize - *low, *low}};
}

bool RawLayout::fits(uint64_t fileSize, uint64_t ramEnd) const {
  if (ramEnd <= kFourGiB) return !low && fileSize >= ramEnd;
  return (low ? fileSize - *low + kFourGiB : fileSize) == ramEnd;
}

std::string RawLayout::describe() const {
  return low ? "split at " + std::to_string(*low / kMebibyte) + " MiB" : "in one piece";
}

std::vector<RawLayout> likelyRawLayouts(uint64_t fileSize) {
  std::vector<RawLayout> layouts;
  for (const uint64_t low : kLowSizes) {
    if (low < fileSize) layouts.push_back({low});
  }
  layouts.insert(fileSize < kFourGiB ? layouts.begin() : layouts.end(), RawLayout{});
  return layouts;
}

}  // namespace xfilter
