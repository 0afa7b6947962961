#pragma once

#include <stop_token>
#include <vector>

#include "paging/x86_64.h"

namespace xfilter {

/// Root page tables that map something where a kernel's image lies, found by looking at each stored page: one
/// of each kernel, however many processes have tables of their own.
std::vector<AddressSpace> scanForPageTables(const PhysicalMemory& memory, const std::stop_token& stop);

}  // namespace xfilter
