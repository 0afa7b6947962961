#pragma once

#include <vector>

#include "walk/files.h"

namespace xfilter {

/// Adds to what processes hold the sockets that only the kernel's tables have, each with the reason why no
/// process holds it.
void addUnheldSockets(WalkContext& walk, HeldSockets& held);

}  // namespace xfilter
