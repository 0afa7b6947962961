#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "kernel/btf.h"
#include "kernel/symbol_table.h"

namespace xfilter {

/// What a kernel's ELF file holds, stripped or with debug information.
struct Vmlinux {
  std::optional<Btf> types;
  SymbolTable symbols;  // empty where it was stripped
  std::optional<std::string> buildId;
  std::optional<std::string> banner;
  bool hasDwarf = false;
};

bool isVmlinux(std::span<const std::byte> file);

/// Reads sections .BTF, .symtab and notes of an x86_64 ELF file. TYPES_INVALID where it is broken.
Result<Vmlinux> readVmlinux(std::span<const std::byte> file);

}  // namespace xfilter
