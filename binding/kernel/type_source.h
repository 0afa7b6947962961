#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "memory/result.h"

namespace xfilter {

/// Where a member lies in its outermost structure.
struct Field {
  uint32_t offset = 0;    // bytes; of a bit-field, of the byte that holds its first bit
  uint32_t size = 0;      // bytes of the whole member; of a bit-field, of what has to be read
  uint32_t elements = 1;  // of an array, in all dimensions; of a flexible one 0, with size 0
  uint8_t bitShift = 0;   // of a bit-field: first bit, counted from bit 0 of the byte at `offset`
  uint8_t bits = 0;       // 0: not a bit-field

  friend bool operator==(const Field&, const Field&) = default;
};

/// Whatever knows a kernel's structures: its own BTF, or a file from outside.
///
/// Structures, unions and enums are found by name. Where several have one name (the kernel's files may each
/// have their own), the first full definition counts, never a forward declaration.
class TypeSource {
 public:
  virtual ~TypeSource() = default;

  /// `path` is a member of the structure or union `type`, or a dotted path of members through embedded
  /// structures ("thread_info.cpu"). Anonymous structures and unions are looked through, as in C.
  virtual std::optional<Field> field(std::string_view type, std::string_view path) const = 0;

  /// Size in bytes of a structure or union.
  virtual std::optional<uint32_t> sizeOf(std::string_view type) const = 0;

  /// The value of an enumerator of the named enum.
  virtual std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const = 0;

  /// Of a source that knows the answers to some questions only: an error once it was asked another. That the
  /// kernel has no such member is an answer.
  virtual std::optional<Error> unanswered() const { return std::nullopt; }

 protected:
  TypeSource() = default;
  TypeSource(const TypeSource&) = default;
  TypeSource(TypeSource&&) = default;
  TypeSource& operator=(const TypeSource&) = default;
  TypeSource& operator=(TypeSource&&) = default;
};

}  // namespace xfilter
