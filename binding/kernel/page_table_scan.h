#pragma once

#include <vector>

#include "memory/budget.h"
#include "paging/x86_64.h"

namespace xfilter {

/// Root page tables that map something where a kernel's image lies, found by looking at each stored page
/// below `end`: one of each kernel, however many processes have tables of their own.
std::vector<AddressSpace> scanForPageTables(const PhysicalMemory& memory, PhysicalAddress end,
                                            Budget& budget);

}  // namespace xfilter
