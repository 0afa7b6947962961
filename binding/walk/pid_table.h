#pragma once

#include <functional>

#include "walk/context.h"

namespace xfilter {

/// Calls `visit` with each struct pid in the table of a pid namespace (struct pid_namespace).
void forEachPid(WalkContext& walk, VirtualAddress ns, const std::function<void(VirtualAddress)>& visit);

/// Asks for the links in the task list of all that the table of init_pid_ns has. A list says where a node
/// lies only when the one before it is here: one long wait after the other. The table says it of many at
/// once. This is but a hint: nothing is counted that is wrong with it.
void prefetchLeaders(WalkContext& walk);

/// The task that leads the thread group of this pid; 0 where it has none (a thread's, or only a group's or
/// session's).
VirtualAddress leaderOf(WalkContext& walk, VirtualAddress pid);

}  // namespace xfilter
