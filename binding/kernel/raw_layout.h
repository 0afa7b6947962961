#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "memory/image.h"

namespace xfilter {

/// How guest-physical memory lies in a raw file: in one piece, or `low` bytes of it from address 0 on and the
/// rest from 4 GiB on, as a machine has it that leaves a hole for devices.
struct RawLayout {
  std::optional<uint64_t> low{};

  std::vector<MemoryMapEntry> map(uint64_t fileSize) const;
  /// Whether RAM that ends where the kernel says can lie so in a file of this size. Above 4 GiB, one layout
  /// does.
  bool fits(uint64_t fileSize, uint64_t ramEnd) const;
  std::string describe() const;
};

/// The layouts that hypervisors give so much memory, the likely first.
std::vector<RawLayout> likelyRawLayouts(uint64_t fileSize);

}  // namespace xfilter
