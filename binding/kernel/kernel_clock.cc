#include "kernel/kernel_clock.h"

namespace xfilter {
namespace {

// struct timekeeper lies in
//   timekeeper_data[0], a struct tk_data, since 6.17
//   tk_core, a struct tk_data, since 6.13
//   tk_core, a structure without a name, before; but its copy, shadow_timekeeper, is one by itself.
std::optional<VirtualAddress> timekeeper(const Symbols& symbols, const Layout& layout) {
  const auto& inData = layout.clock.timekeeper;
  if (symbols.timekeeper_data && inData) return *symbols.timekeeper_data + inData->offset;
  if (symbols.tk_core && inData) return *symbols.tk_core + inData->offset;
  return symbols.shadow_timekeeper;
}

}  // namespace

std::optional<int64_t> readKernelClock(KernelMemory& memory, const Symbols& symbols, const Layout& layout) {
  const auto address = timekeeper(symbols, layout);
  const auto& seconds = layout.clock.xtime_sec;
  if (!address || !seconds) return std::nullopt;
  return memory.read<int64_t>(*address + seconds->offset);
}

}  // namespace xfilter
