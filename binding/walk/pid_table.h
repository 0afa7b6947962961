#pragma once

#include <functional>

#include "walk/context.h"

namespace xfilter {

/// Calls `visit` with each struct pid in the table of a pid namespace (struct pid_namespace).
void forEachPid(WalkContext& walk, VirtualAddress ns, const std::function<void(VirtualAddress)>& visit);

/// Asks for what `leaderOf` will read.
void prefetchLeader(WalkContext& walk, VirtualAddress pid);

/// The task that leads the thread group of this pid; 0 where it has none (a thread's, or only a group's or
/// session's).
VirtualAddress leaderOf(WalkContext& walk, VirtualAddress pid);

}  // namespace xfilter
