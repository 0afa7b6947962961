#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "kernel/vmcoreinfo.h"
#include "paging/kernel_memory.h"

namespace xfilter {

/// Where x86_64 maps the kernel's image, before KASLR, and how long that area is
/// (Documentation/arch/x86/x86_64/mm.rst).
inline constexpr VirtualAddress kKernelImageBase{0xffff'ffff'8000'0000};
inline constexpr uint64_t kKernelImageSize = uint64_t{1} << 30;

/// A kernel's address space, proven: its VMCOREINFO and its page tables agree.
struct KernelSpace {
  Vmcoreinfo info;
  AddressSpace space;
  int64_t physBase = 0;
  std::string how;
};

/// The address space of the kernel that wrote `info`, or empty if its page tables do not lead to it: the root
/// table must map itself where VMCOREINFO says that it is, and `init_uts_ns` hold the release that VMCOREINFO
/// names.
std::optional<KernelSpace> proveKernelSpace(const PhysicalMemory& memory, const Vmcoreinfo& info,
                                            std::string how);

/// Every proven kernel of the memory, each once: by the source's note if that leads to one, else by a scan.
/// KERNEL_NOT_FOUND says what was seen.
Result<std::vector<KernelSpace>> findKernelSpaces(const PhysicalMemory& memory, const std::stop_token& stop);

}  // namespace xfilter
