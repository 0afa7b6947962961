#pragma once

#include <memory>

#include "kernel/attach_image.h"

namespace xfilter {

/// Finds the kernel in the memory of a guest that runs. `opened` tells how the memory was found.
///
/// Errors: those of findKernel and of the memory's `intact`.
Result<AttachedGuest> attachMemory(std::unique_ptr<PhysicalMemory> memory, AttachStep opened,
                                   const KernelOptions& options, Budget& budget);

/// The guest, if its kernel is seen to run: one that was reset stands in memory, whole, until another is
/// loaded over it. GUEST_CHANGED.
Result<AttachedGuest> requireRunning(AttachedGuest guest, Budget& budget);

}  // namespace xfilter
