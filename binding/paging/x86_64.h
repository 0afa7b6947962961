#pragma once

#include <cstdint>
#include <optional>

#include "memory/physical_memory.h"

namespace xfilter {

/// Where a virtual address leads: the physical address, and the run of bytes from it to the end of its page.
struct Translation {
  PhysicalAddress physical;
  uint64_t pageSize = 0;  // 4 KiB, 2 MiB or 1 GiB
};

/// An x86_64 address space: a root table (CR3) and a number of levels. It keeps no cache: KernelMemory does.
class AddressSpace {
 public:
  /// `levels` is 4, or 5 with LA57.
  AddressSpace(const PhysicalMemory& memory, PhysicalAddress root, int levels)
      : memory_(&memory), root_(root), levels_(levels) {}

  /// Empty for a non-canonical address, one that is not mapped, or a table outside of memory.
  std::optional<Translation> translate(VirtualAddress address) const;

  /// The same tables in other memory of the same guest, as an epoch is.
  AddressSpace over(const PhysicalMemory& memory) const { return {memory, root_, levels_}; }

  const PhysicalMemory& memory() const { return *memory_; }
  PhysicalAddress root() const { return root_; }
  int levels() const { return levels_; }

 private:
  const PhysicalMemory* memory_;
  PhysicalAddress root_;
  int levels_;
};

}  // namespace xfilter
