#include "kernel/attach_live.h"

#include <algorithm>
#include <chrono>

#include "kernel/raw_layout.h"

namespace xfilter {
namespace {

using Clock = std::chrono::steady_clock;

Result<AttachedGuest> attachTo(std::shared_ptr<const HostProcess> process, std::vector<RamRegion> regions,
                               std::string how, const KernelOptions& options, Budget& budget) {
  const auto start = Clock::now();
  auto memory = LiveMemory::open(std::move(process), std::move(regions));
  if (!memory) return tl::unexpected(memory.error());
  const auto opened = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
  const auto scan = (*memory)->scan();
  const PhysicalMemory& source = scan ? *scan : static_cast<const PhysicalMemory&>(**memory);
  auto kernel = findKernel(source, options, budget);
  if (const auto intact = source.intact(); !intact) return tl::unexpected(intact.error());
  if (!kernel) return tl::unexpected(kernel.error());
  kernel->space = kernel->space.over(**memory);
  kernel->steps.insert(kernel->steps.begin(), {"memory", std::move(how), (*memory)->describe(),
                                               static_cast<uint64_t>(opened.count())});
  return AttachedGuest{std::move(*memory), std::move(*kernel)};
}

}  // namespace

Result<AttachedGuest> attachLive(const LiveOptions& live, const KernelOptions& options, Budget& budget) {
  auto process = HostProcess::open(live.pid);
  if (!process) return tl::unexpected(process.error());
  return attachTo(std::move(*process), live.regions, "QEMU's own map, by QMP", options, budget);
}

}  // namespace xfilter
