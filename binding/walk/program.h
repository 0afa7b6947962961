#pragma once

#include "walk/context.h"
#include "walk/process.h"

namespace xfilter {

/// What each process was started as: the path of its program and its arguments. The arguments lie in its own
/// pages, which are found through its own page table, and may be absent: swapped out, or left out of the
/// image. In a guest that runs, they are unknown where they do not read the same twice.
std::vector<ProcessDetails> readDetails(WalkContext& walk, const std::vector<Process>& processes);

}  // namespace xfilter
