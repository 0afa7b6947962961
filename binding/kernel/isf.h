#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "kernel/json_reader.h"
#include "kernel/symbol_table.h"
#include "kernel/type_source.h"
#include "kernel/type_steps.h"
#include "memory/keyed_hash.h"
#include "memory/result.h"

namespace xfilter {

class JsonReader;

/// Types of an Intermediate Symbol File, the JSON in which Volatility keeps a kernel's types and symbols
/// (dwarf2json makes it from a vmlinux). One pass notes where each type's description begins; a description
/// is read when it is asked for.
class Isf : public TypeSource {
 public:
  /// `text` must outlive the result. TYPES_INVALID says what is wrong.
  static Result<Isf> parse(std::string_view text);

  std::optional<Field> field(std::string_view type, std::string_view path) const override;
  std::optional<uint32_t> sizeOf(std::string_view type) const override;
  std::optional<int64_t> enumerator(std::string_view type, std::string_view name) const override;

  size_t typeCount() const { return userTypes_.size(); }
  const SymbolTable& symbols() const { return symbols_; }
  const std::optional<std::string>& banner() const { return banner_; }

 private:
  using Positions = std::unordered_map<std::string_view, size_t, KeyedHash>;
  struct Member;
  struct Description;

  Isf() = default;
  static Positions index(JsonReader& reader, std::string_view text);
  void readSymbols(JsonReader& reader);
  std::optional<Member> member(std::string_view type, std::string_view name, TypeSteps& steps) const;
  Description describe(size_t position) const;
  std::optional<uint64_t> sizeAt(const Positions& positions, std::string_view name) const;
  bool measure(Description description, Field& field) const;

  std::string_view text_;
  Positions baseTypes_, userTypes_, enums_;
  SymbolTable symbols_;
  std::optional<std::string> banner_;
};

}  // namespace xfilter
