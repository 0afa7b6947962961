#pragma once

#include "walk/files.h"
#include "walk/tasks.h"

namespace xfilter {

/// Processes and the sockets that they hold.
struct TasksAndSockets {
  Tasks tasks;
  HeldSockets held;
};

/// Those of a guest that runs: what was read and stood the test that docs/consistency.md describes. What did
/// not stand it is read again, in a few rounds; what still does not is left out and counted.
TasksAndSockets walkLive(WalkContext& walk);

}  // namespace xfilter
