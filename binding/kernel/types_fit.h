#pragma once

#include "kernel/layout.h"
#include "paging/kernel_memory.h"

namespace xfilter {

/// Whether the kernel's first task reads as one. Types of another kernel resolve just as well and give wrong
/// rows; but the first task looks alike in every kernel: its name and ids, root's credentials, itself for a
/// parent, an fd table as it was compiled in, and lists whose links lead back.
bool typesFit(KernelMemory& memory, const Layout& layout, VirtualAddress initTask);

}  // namespace xfilter
