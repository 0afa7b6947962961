#pragma once

#include <string>
#include <vector>

#include "kernel/kallsyms.h"
#include "kernel/kernel_image.h"
#include "kernel/vmcoreinfo.h"
#include "memory/budget.h"
#include "paging/kernel_memory.h"

namespace xfilter {

/// A kernel's address space, and what is known of the kernel before its symbols are.
struct KernelSpace {
  AddressSpace space;
  int64_t physBase = 0;
  uint64_t kaslrOffset = 0;
  VirtualAddress imageStart;  // _stext
  /// Empty for a kernel whose VMCOREINFO is not in the memory, as is the release: its banner tells.
  std::optional<Vmcoreinfo> info{};
  std::string release{};
  /// Symbols whose addresses are known without the symbol table: it must agree with one of them.
  std::vector<KnownSymbol> known{};
  std::string how{};
};

/// The address space of the kernel that wrote `info`, or empty if its page tables do not lead to it: the root
/// table must map itself where VMCOREINFO says that it is, and `init_uts_ns` hold the release that VMCOREINFO
/// names.
std::optional<KernelSpace> proveKernelSpace(const PhysicalMemory& memory, const Vmcoreinfo& info,
                                            std::string how);

/// Every kernel of the memory, each once and at most eight, by the first of these that leads to one: the
/// source's note, if the vCPUs' page tables do not lead elsewhere; the vCPUs' page tables; the page table
/// that the kernel keeps in low memory; VMCOREINFO by a scan; root page tables by a scan. What comes later is
/// easier for the guest's users to forge. KERNEL_NOT_FOUND says what was seen; it may also mean that the
/// budget is spent.
Result<std::vector<KernelSpace>> findKernelSpaces(const PhysicalMemory& memory, Budget& budget);

/// The same address space by the kernel's own root table, which lies at `rootTable` in its image: a process's
/// table goes with the process, and with page-table isolation there is one that maps little of the kernel.
/// Empty if the table there does not map itself.
std::optional<AddressSpace> spaceOfKernel(const KernelSpace& found, VirtualAddress rootTable);

}  // namespace xfilter
