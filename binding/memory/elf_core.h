#pragma once

#include "memory/image.h"

namespace xfilter {

/// Reads the program headers of an ELF64 core of an x86_64 guest: QEMU's `dump-guest-memory`, `virsh dump
/// --memory-only`, /proc/vmcore, makedumpfile -E. SOURCE_FORMAT or SOURCE_TRUNCATED say what is wrong.
Result<ImageMap> readElfCore(std::span<const std::byte> file);

}  // namespace xfilter
