#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
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
  /// name occurs several times (statics of one name in several files), the first. Where it does not occur,
  /// the first `name.NN` stands for it: the compiler numbers function-local statics ("inet_ehash_secret.5").
  std::vector<std::optional<VirtualAddress>> find(std::span<const std::string_view> names) const;

  size_t size() const { return count_; }

  /// How the addresses are encoded: "base-relative", "base-relative per-CPU", "place-relative", "absolute".
  std::string_view encoding() const;

 private:
  enum class Lengths { kOneByte, kUleb128 };
  enum class Encoding { kBaseRelative, kPerCpu, kPlaceRelative, kAbsolute };

  /// What one byte of a compressed name stands for.
  struct Token {
    uint16_t offset = 0;  // in tokenText_
    uint16_t length = 0;
    uint64_t start = 0;  // the first eight characters, the first one lowest; zero behind the end
  };
  class NameCopy;

  Kallsyms() = default;
  bool copyTokens(KernelMemory& memory, const KallsymsTables& tables);
  static bool parseNames(NameCopy& names, uint32_t count, Lengths lengths);
  bool copyAddresses(KernelMemory& memory, const KallsymsTables& tables);
  bool chooseEncoding(uint32_t symbol, VirtualAddress address);
  std::vector<std::optional<uint32_t>> locate(std::span<const std::string_view> names) const;
  std::string_view expand(std::span<const uint8_t> compressed, std::span<char> buffer) const;
  VirtualAddress addressOf(uint32_t symbol, Encoding encoding) const;

  uint32_t count_ = 0;
  std::array<Token, 256> tokens_;
  std::string tokenText_;
  Lengths lengths_ = Lengths::kUleb128;
  std::vector<uint8_t> names_;  // the records, and a little of what lies behind them
  Encoding encoding_ = Encoding::kBaseRelative;
  std::vector<uint32_t> offsets_;
  std::vector<uint64_t> addresses_;
  std::optional<uint64_t> relativeBase_;
  VirtualAddress place_;  // of offsets_[0] in the guest
};

}  // namespace xfilter
