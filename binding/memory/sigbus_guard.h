#pragma once

#include <cstddef>
#include <span>

namespace xfilter::sigbus_guard {

/// Answers SIGBUS inside `mapping`, which is one of `file`, from now on. The slot to ask and to release, or
/// -1 if all are taken.
int add(std::span<const std::byte> mapping, int file);

/// Whether a read inside the mapping ever failed.
bool hit(int slot);

/// Must come before the mapping is unmapped.
void remove(int slot);

}  // namespace xfilter::sigbus_guard
