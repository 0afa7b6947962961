#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "memory/result.h"

namespace xfilter {

/// Where a member lies in its outermost structure.
struct BtfField {
  uint32_t offset = 0;    // bytes; of a bit-field, of the byte that holds its first bit
  uint32_t size = 0;      // bytes of the whole member; of a bit-field, of what has to be read
  uint32_t elements = 1;  // of an array
  uint8_t bitShift = 0;   // of a bit-field: first bit, counted from bit 0 of the byte at `offset`
  uint8_t bits = 0;       // 0: not a bit-field
};

/// The kernel's own type information (Documentation/bpf/btf.rst), copied out of the guest.
class Btf {
 public:
  /// Checks the header, each type record to the end and each string once; after that, access needs no checks.
  /// TYPES_INVALID says what is wrong, and where.
  static Result<Btf> parse(std::vector<std::byte> blob);

  /// `path` is a member of the structure or union `type`, or a dotted path of members through embedded
  /// structures ("thread_info.cpu"). Anonymous structures and unions are looked through, as in C.
  std::optional<BtfField> field(std::string_view type, std::string_view path) const;

  /// Size in bytes of a structure or union.
  std::optional<uint32_t> sizeOf(std::string_view type) const;

  /// The value of an enumerator of the named enum.
  std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const;

  size_t typeCount() const;
};

}  // namespace xfilter
