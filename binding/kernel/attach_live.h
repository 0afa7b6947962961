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
  /// Whether the kernel has to be seen to run. One that was reset stands in memory, whole, until another is
  /// loaded over it.
  bool running = false;
};

/// Opens the RAM of a guest that runs and finds the kernel in it.
///
/// Errors: those of HostProcess::open, LiveMemory::open and findKernel; GUEST_CHANGED if the kernel does not
/// run.
Result<AttachedGuest> attachLive(const LiveOptions& live, const KernelOptions& options, Budget& budget);

}  // namespace xfilter
