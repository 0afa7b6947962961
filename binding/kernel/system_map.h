#pragma once

#include <string_view>

#include "kernel/symbol_table.h"
#include "memory/result.h"

namespace xfilter {

bool isSystemMap(std::string_view text);

/// The symbols of a System.map, or of what `nm` prints: lines of address, type and name.
/// SYMBOLS_INVALID where a line is none.
Result<SymbolTable> readSystemMap(std::string_view text);

}  // namespace xfilter
