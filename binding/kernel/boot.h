#pragma once

#include <optional>

#include "paging/kernel_memory.h"

namespace xfilter {

struct Kernel;

/// What tells one boot of a guest from the next: its first process, which lives as long as the kernel does.
struct Boot {
  VirtualAddress init;
  uint64_t startTime = 0;  // 0 where the kernel has no such member
};

/// Empty before the guest has a first process, and where nothing of the kernel is left in its memory.
std::optional<Boot> readBoot(KernelMemory& memory, const Kernel& kernel);

/// Whether the kernel that was found is still the one that runs: by its banner, which its page tables lead
/// to, and by its first process.
bool isSameBoot(KernelMemory& memory, const Kernel& kernel);

}  // namespace xfilter
