#pragma once

#include <cstddef>
#include <span>

#include "memory/vcpu_registers.h"

namespace xfilter {

/// The size of a `struct vcpu_guest_context` of x86_64 (Xen's public/arch-x86/xen.h).
inline constexpr size_t kXenContextSize = 0x1430;

/// The registers in such a structure, of a paravirtual guest or one in hardware's containment. What is
/// missing is zero.
VcpuRegisters readXenVcpu(std::span<const std::byte> context, bool paravirtual);

}  // namespace xfilter
