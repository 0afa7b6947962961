#pragma once

#include <vector>

#include "walk/context.h"

namespace xfilter {

/// The address of each struct net: every network namespace of the guest, whether a process is in it or not.
std::vector<VirtualAddress> listNetNamespaces(WalkContext& walk);

}  // namespace xfilter
