#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "kernel/type_source.h"
#include "kernel/type_steps.h"
#include "memory/keyed_hash.h"
#include "memory/result.h"

namespace xfilter {

/// The kernel's own type information (Documentation/bpf/btf.rst), copied out of the guest.
class Btf : public TypeSource {
 public:
  /// Checks the header, each type record to the end and each string once; after that, access needs no checks.
  /// TYPES_INVALID says what is wrong, and where.
  static Result<Btf> parse(std::vector<std::byte> blob);

  std::optional<Field> field(std::string_view type, std::string_view path) const override;
  std::optional<uint32_t> sizeOf(std::string_view type) const override;
  std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const override;

  /// With void, which is type 0.
  size_t typeCount() const { return offsets_.size(); }

 private:
  struct Type;
  struct Member;
  struct Extent;

  Btf() = default;
  std::optional<Error> readHeader();
  std::optional<Error> indexTypes();
  void indexNames();

  uint32_t word(size_t offset) const;
  Type type(uint32_t id) const;
  std::string_view string(uint32_t offset) const;
  std::optional<uint32_t> named(std::string_view name, uint32_t kinds) const;
  std::optional<Member> member(uint32_t id, std::string_view name, TypeSteps& steps) const;
  std::optional<uint32_t> resolved(uint32_t id, TypeSteps& steps) const;
  std::optional<Extent> extent(uint32_t id, TypeSteps& steps) const;

  std::vector<std::byte> blob_;
  size_t types_ = 0;  // the sections, as offsets in blob_
  size_t typesEnd_ = 0;
  size_t strings_ = 0;
  size_t stringsEnd_ = 0;
  size_t layout_ = 0;
  size_t layoutEnd_ = 0;
  std::vector<uint32_t> offsets_;  // of each type's record in blob_, by id
  std::vector<uint32_t> names_;    // open-addressed hash table of ids; 0 is a free slot
  KeyedHash hash_;                 // of the names
};

}  // namespace xfilter
