#pragma once

#include <memory>
#include <vector>

#include "kernel/attach_image.h"
#include "memory/live_memory.h"

namespace xfilter {

struct LiveOptions {
  int pid = 0;
  /// Where the guest's RAM lies in the process, as QEMU says; if empty, it is looked for in the process's
  /// mappings.
  std::vector<RamRegion> regions;
};

/// Opens the RAM of a guest that runs and finds the kernel in it.
///
/// Errors: those of HostProcess::open, LiveMemory::open and findKernel.
Result<AttachedGuest> attachLive(const LiveOptions& live, const KernelOptions& options, Budget& budget);

}  // namespace xfilter
