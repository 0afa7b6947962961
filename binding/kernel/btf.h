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
  uint32_t elements = 1;  // of an array, in all dimensions; of a flexible one 0, with size 0
  uint8_t bitShift = 0;   // of a bit-field: first bit, counted from bit 0 of the byte at `offset`
  uint8_t bits = 0;       // 0: not a bit-field
};

/// The kernel's own type information (Documentation/bpf/btf.rst), copied out of the guest.
///
/// Structures, unions and enums are found by name. Where several have one name (the kernel's files may each
/// have their own), the first full definition counts, never a forward declaration.
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

  /// With void, which is type 0.
  size_t typeCount() const { return offsets_.size(); }

 private:
  struct Type;
  struct Member;
  struct Extent;
  class Steps;

  Btf() = default;
  std::optional<Error> readHeader();
  std::optional<Error> indexTypes();
  std::optional<Error> indexNames();

  uint32_t word(size_t offset) const;
  Type type(uint32_t id) const;
  std::string_view string(uint32_t offset) const;
  std::optional<uint32_t> named(std::string_view name, uint32_t kinds) const;
  std::optional<Member> member(uint32_t id, std::string_view name, Steps& steps) const;
  std::optional<uint32_t> resolved(uint32_t id, Steps& steps) const;
  std::optional<Extent> extent(uint32_t id, Steps& steps) const;

  std::vector<std::byte> blob_;
  size_t types_ = 0;  // the sections, as offsets in blob_
  size_t typesEnd_ = 0;
  size_t strings_ = 0;
  size_t stringsEnd_ = 0;
  size_t layout_ = 0;
  size_t layoutEnd_ = 0;
  std::vector<uint32_t> offsets_;  // of each type's record in blob_, by id
  std::vector<uint32_t> names_;    // open-addressed hash table of ids; 0 is a free slot
};

}  // namespace xfilter
