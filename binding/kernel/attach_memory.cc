#include "kernel/attach_memory.h"

#include <chrono>
#include <thread>

namespace xfilter {
namespace {

using Clock = std::chrono::steady_clock;

// The clock that is read counts seconds; a guest that idles may be late with it.
constexpr std::chrono::milliseconds kMaxTick{2000};
constexpr std::chrono::milliseconds kTickPoll{20};
constexpr int64_t kMaxSeconds = 5;

/// Whether the kernel's clock goes on, and does not just get overwritten. True if it has none that is known.
bool runs(const Kernel& kernel, Budget& budget) {
  const auto before = readClock(kernel);
  if (!before) return !kernel.clock;
  for (const auto end = Clock::now() + kMaxTick; Clock::now() < end && budget.spendLong();) {
    const auto now = readClock(kernel);
    if (now && *now > *before && *now <= *before + kMaxSeconds) return true;
    std::this_thread::sleep_for(kTickPoll);
  }
  return false;
}

}  // namespace

Result<AttachedGuest> attachMemory(std::unique_ptr<PhysicalMemory> memory, AttachStep opened,
                                   const KernelOptions& options, Budget& budget) {
  const auto scan = memory->scan();
  const PhysicalMemory& source = scan ? *scan : *memory;
  auto kernel = findKernel(source, options, budget);
  // A guest that has ended is that, whatever else went wrong with reading it.
  for (const PhysicalMemory* const read : {static_cast<const PhysicalMemory*>(memory.get()), &source}) {
    if (const auto intact = read->intact(); !intact) return tl::unexpected(intact.error());
  }
  if (!kernel) return tl::unexpected(kernel.error());
  kernel->space = kernel->space.over(*memory);
  kernel->steps.insert(kernel->steps.begin(), std::move(opened));
  return AttachedGuest{std::move(memory), std::move(*kernel)};
}

Result<AttachedGuest> requireRunning(AttachedGuest guest, Budget& budget) {
  if (runs(guest.kernel, budget)) return guest;
  return failure("GUEST_CHANGED", "The guest changed, and the kernel in its memory does not run.",
                 "Start the guest again, or let it run on, and attach again.");
}

}  // namespace xfilter
