#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/btf_format.h"

namespace xfilter::test {

struct BtfMember {
  std::string_view name;  // empty: anonymous
  uint32_t type;
  uint32_t bitOffset;
  uint32_t bits = 0;  // of a bit-field with kind_flag
};

struct BtfEnumerator {
  std::string_view name;
  int64_t value;
};

/// Writes BTF, record by record. Each method returns the new type's id.
///
///     BtfBuilder btf;
///     const auto u32 = btf.integer("u32", 4);
///     btf.structure("pair", 8, {{"first", u32, 0}, {"second", u32, 32}});
///     Btf::parse(btf.build());
class BtfBuilder {
 public:
  uint32_t integer(std::string_view name, uint32_t size) { return integer(name, size, 0, size * 8); }
  /// Before kind_flag an int of its own described a bit-field: its first bit and how many.
  uint32_t integer(std::string_view name, uint32_t size, uint32_t firstBit, uint32_t bits) {
    return record(name, btf_format::kInt, 0, false, size, {firstBit << 16 | bits});
  }
  uint32_t pointer(uint32_t target) { return record("", btf_format::kPtr, 0, false, target, {}); }
  uint32_t array(uint32_t element, uint32_t count) {
    return record("", btf_format::kArray, 0, false, 0, {element, element, count});
  }
  uint32_t structure(std::string_view name, uint32_t size, const std::vector<BtfMember>& members,
                     uint32_t kind = btf_format::kStruct) {
    bool kindFlag = false;
    for (const BtfMember& member : members) kindFlag |= member.bits != 0;
    std::vector<uint32_t> words;
    for (const BtfMember& member : members) {
      words.insert(words.end(), {string(member.name), member.type, member.bits << 24 | member.bitOffset});
    }
    return record(name, kind, static_cast<uint32_t>(members.size()), kindFlag, size, words);
  }
  uint32_t unite(std::string_view name, uint32_t size, const std::vector<BtfMember>& members) {
    return structure(name, size, members, btf_format::kUnion);
  }
  uint32_t enumeration(std::string_view name, const std::vector<BtfEnumerator>& values,
                       bool isSigned = false) {
    std::vector<uint32_t> words;
    for (const auto& [text, value] : values)
      words.insert(words.end(), {string(text), static_cast<uint32_t>(value)});
    return record(name, btf_format::kEnum, static_cast<uint32_t>(values.size()), isSigned, 4, words);
  }
  uint32_t enumeration64(std::string_view name, const std::vector<BtfEnumerator>& values) {
    std::vector<uint32_t> words;
    for (const auto& [text, value] : values) {
      const auto bits = static_cast<uint64_t>(value);
      words.insert(words.end(),
                   {string(text), static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)});
    }
    return record(name, btf_format::kEnum64, static_cast<uint32_t>(values.size()), false, 8, words);
  }
  uint32_t forward(std::string_view name) { return record(name, btf_format::kFwd, 0, false, 0, {}); }
  /// typedef, volatile, const, restrict or type_tag of a type, also one that comes later.
  uint32_t alias(std::string_view name, btf_format::Kind kind, uint32_t target) {
    return record(name, kind, 0, false, target, {});
  }

  /// Any record, as it lies in the blob.
  uint32_t record(std::string_view name, uint32_t kind, uint32_t count, bool kindFlag, uint32_t sizeOrType,
                  const std::vector<uint32_t>& tail) {
    const uint32_t flag = kindFlag ? uint32_t{1} << 31 : 0;
    types_.insert(types_.end(), {string(name), flag | kind << 24 | count, sizeOrType});
    types_.insert(types_.end(), tail.begin(), tail.end());
    return ++last_;
  }
  uint32_t nextId() const { return last_ + 1; }

  /// For each kind from 0 on, u8 tail size, u8 element size, u16 flags.
  void layout(std::vector<uint32_t> words) { layout_ = std::move(words); }

  std::vector<std::byte> build() const {
    const auto typeBytes = static_cast<uint32_t>(types_.size() * 4);
    const auto stringBytes = static_cast<uint32_t>(strings_.size());
    const auto layoutBytes = static_cast<uint32_t>(layout_.size() * 4);
    std::vector<uint32_t> words = {0x1eb9f,   layout_.empty() ? 24U : 32U, 0,
                                   typeBytes, typeBytes + layoutBytes,     stringBytes};
    if (!layout_.empty()) words.insert(words.end(), {typeBytes, layoutBytes});
    words.insert(words.end(), types_.begin(), types_.end());
    words.insert(words.end(), layout_.begin(), layout_.end());
    std::vector<std::byte> blob(words.size() * 4 + strings_.size());
    std::memcpy(blob.data(), words.data(), words.size() * 4);
    std::memcpy(blob.data() + words.size() * 4, strings_.data(), strings_.size());
    return blob;
  }

 private:
  uint32_t string(std::string_view text) {
    if (text.empty()) return 0;
    const auto offset = static_cast<uint32_t>(strings_.size());
    strings_.append(text).push_back('\0');
    return offset;
  }

  std::vector<uint32_t> types_;
  std::vector<uint32_t> layout_;
  std::string strings_ = std::string(1, '\0');
  uint32_t last_ = 0;
};

}  // namespace xfilter::test
