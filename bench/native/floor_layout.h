#pragma once

#include "kernel/kernel.h"

namespace xfilter {

/// Prints the C header that bench/floor/floor.c is compiled with: where this guest's kernel has what the
/// floor follows, and what the floor must count.
Result<void> printFloorLayout(const PhysicalMemory& memory, const Kernel& kernel);

/// Prints one JSON object with what the floor, or another program that follows the same pointers, must count.
void printExpected(const Kernel& kernel);

}  // namespace xfilter
