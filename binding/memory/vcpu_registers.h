#pragma once

#include <cstdint>
#include <optional>

namespace xfilter {

/// What a dump tells of a virtual CPU at the moment of the dump. The values are the guest's own: checked by
/// whoever follows them.
struct VcpuRegisters {
  uint64_t rip = 0;
  uint64_t gsBase = 0;
  /// The privilege level of its code segment: 3 in user mode, 0 in the kernel.
  int privilege = 0;
  /// What `swapgs` would exchange with GS's base: in user mode the kernel's. QEMU 3.0 and newer tell it.
  std::optional<uint64_t> kernelGsBase{};
  /// Only QEMU's own note has these.
  std::optional<uint64_t> cr3{};
  std::optional<uint64_t> cr4{};
};

}  // namespace xfilter
