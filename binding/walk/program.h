#pragma once

#include "walk/context.h"
#include "walk/process.h"

namespace xfilter {

/// What a process was started as: the path of its program and its arguments. The arguments lie in its own
/// pages, which are found through its own page table, and may be absent: swapped out, or left out of the
/// image.
ProcessDetails readDetails(WalkContext& walk, VirtualAddress task);

}  // namespace xfilter
