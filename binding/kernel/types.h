#pragma once

#include <string>

#include "kernel/btf.h"
#include "kernel/symbols.h"
#include "memory/budget.h"

namespace xfilter {

/// The types that the guest carries itself.
struct Types {
  Btf btf;
  std::string how;
};

/// The types of the kernel's own BTF: between the symbols that bound it, or else found by a scan of the
/// kernel's image. Only the image is looked at, by its virtual addresses: stale copies of BTF elsewhere in
/// RAM are not in it. TYPES_NOT_FOUND or TYPES_INVALID, which may also mean that the budget was spent.
Result<Types> typesOfGuest(KernelMemory& memory, const Symbols& symbols, VirtualAddress imageStart,
                           Budget& budget);

}  // namespace xfilter
