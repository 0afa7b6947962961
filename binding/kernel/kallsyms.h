#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "paging/kernel_memory.h"

namespace xfilter {

/// Where the kernel keeps its compressed symbol table. VMCOREINFO names the tables from 6.0 on; before, they
/// are found by scanning (kallsyms_scan.h). Which of the last three exist depends on the encoding of the
/// addresses.
struct KallsymsTables {
  VirtualAddress numSyms;
  VirtualAddress names;
  VirtualAddress tokenTable;
  VirtualAddress tokenIndex;
  std::optional<VirtualAddress> offsets;
  std::optional<VirtualAddress> relativeBase;
  std::optional<VirtualAddress> addresses;
};

/// A symbol whose address is known from elsewhere (VMCOREINFO's `_stext`), by which the encoding is chosen.
struct KnownSymbol {
  std::string_view name;
  VirtualAddress address;
};

/// The kernel's symbol table, copied out of the guest and checked; see kallsyms.cc for its layout.
class Kallsyms {
 public:
  /// Copies the tables and chooses the encoding of lengths and addresses under which `known` decodes to its
  /// address. SYMBOLS_NOT_FOUND when none does, with what was seen.
  static Result<Kallsyms> load(KernelMemory& memory, const KallsymsTables& tables, const KnownSymbol& known);

  /// The address of each name, in one pass over the table; empty where the kernel has no such symbol. Where a
  /// name occurs several times (function-local statics of one name), the first.
  std::vector<std::optional<VirtualAddress>> find(std::span<const std::string_view> names) const;

  size_t size() const;

  /// How the addresses are encoded: "base-relative", "base-relative per-CPU", "place-relative", "absolute".
  std::string_view encoding() const;
};

}  // namespace xfilter
