#pragma once

#include "memory/image.h"

namespace xfilter {

/// Whether the file is an ELF core of sections without program headers, as Xen's are.
bool isXenCore(std::span<const std::byte> file);

/// Reads the sections of a core file of `xl dump-core`. Memory of a paravirtual guest is addressed by machine
/// frames, as its page tables do, and is scattered; of any other guest by its own. SOURCE_FORMAT or
/// SOURCE_TRUNCATED say what is wrong.
Result<ImageMap> readXenCore(std::span<const std::byte> file);

}  // namespace xfilter
