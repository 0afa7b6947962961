#pragma once

#include <vector>

#include "kernel/kallsyms.h"
#include "memory/budget.h"

namespace xfilter {

/// Finds the kallsyms tables of a kernel that does not name them, in the mapped pages of [begin, end). Every
/// candidate, best first: Kallsyms::load decides. What was found until the budget was spent.
std::vector<KallsymsTables> scanForKallsyms(KernelMemory& memory, VirtualAddress begin, VirtualAddress end,
                                            Budget& budget);

}  // namespace xfilter
