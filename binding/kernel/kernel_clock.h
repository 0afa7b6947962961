#pragma once

#include <cstdint>
#include <optional>

#include "kernel/layout.h"
#include "kernel/symbols.h"

namespace xfilter {

/// The guest's wall clock as its kernel last wrote it, in seconds. Memory keeps kernels that ran before a
/// reboot or a kexec, often whole: of two, the one whose clock went on is the one that runs.
std::optional<int64_t> readKernelClock(KernelMemory& memory, const Symbols& symbols, const Layout& layout);

}  // namespace xfilter
