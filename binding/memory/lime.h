#pragma once

#include "memory/image.h"

namespace xfilter {

/// Whether the file begins as a LiME dump does.
bool isLime(std::span<const std::byte> file);

/// Reads the headers of the ranges of a LiME dump, as the LiME kernel module and AVML (uncompressed) write
/// it. SOURCE_FORMAT or SOURCE_TRUNCATED say what is wrong.
Result<ImageMap> readLime(std::span<const std::byte> file);

}  // namespace xfilter
