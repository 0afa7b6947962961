#include "kernel/btf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "kernel/btf_format.h"

namespace xfilter {
namespace {

using namespace btf_format;

constexpr size_t kMaxBlobBytes = size_t{256} << 20;  // kernels have 3 to 6 MB
constexpr size_t kMaxTypes = size_t{4} << 20;        // those, 100,000 to 200,000
constexpr size_t kMaxNameLength = 511;
constexpr uint64_t kMaxSteps = 1 << 18;

constexpr uint32_t kPointerBytes = 8;

constexpr uint32_t kAggregates = bit(kStruct) | bit(kUnion);
constexpr uint32_t kEnums = bit(kEnum) | bit(kEnum64);
constexpr uint32_t kAliases = bit(kTypedef) | bit(kVolatile) | bit(kConst) | bit(kRestrict) | bit(kTypeTag);

Error invalid(std::string what) {
  return {"TYPES_INVALID", "The kernel's BTF " + std::move(what) + ".",
          "Give the types of exactly this kernel as a file (types)."};
}

std::string hex(size_t offset) {
  std::string digits;
  for (; offset > 0 || digits.empty(); offset >>= 4) {
    digits.insert(digits.begin(), "0123456789abcdef"[offset & 15]);
  }
  return "0x" + digits;
}

}  // namespace

struct Btf::Type {
  uint32_t id;
  uint32_t name;
  uint32_t kind;
  bool kindFlag;
  uint32_t count;
  uint32_t sizeOrType;
  size_t tail;  // offset in the blob of what follows the record

  bool is(uint32_t kinds) const { return kind < kKinds.size() && (kinds >> kind & 1) != 0; }
};

/// A member as found, at any depth of anonymous ones.
struct Btf::Member {
  uint32_t type;
  uint64_t bitOffset;
  uint32_t bits;
};

struct Btf::Extent {
  uint32_t size;
  uint32_t elements;
};

Result<Btf> Btf::parse(std::vector<std::byte> blob) {
  Btf btf;
  btf.blob_ = std::move(blob);
  auto error = btf.readHeader();
  if (!error) error = btf.indexTypes();
  if (error) return tl::unexpected(std::move(*error));
  btf.indexNames();
  return btf;
}

uint32_t Btf::word(size_t offset) const {
  uint32_t value = 0;
  std::memcpy(&value, blob_.data() + offset, sizeof value);
  return value;
}

std::optional<Error> Btf::readHeader() {
  if (blob_.size() < kHeaderBytes) return invalid("is shorter than its header");
  if (blob_.size() > kMaxBlobBytes) return invalid("is longer than any kernel's");
  if ((word(0) & 0xffff) != kMagic) return invalid("does not begin with its magic number");
  const uint32_t version = word(0) >> 16 & 0xff;
  if (version != 1) return invalid("has version " + std::to_string(version) + ", not 1");
  const size_t end = word(4);
  if (end < kHeaderBytes || end > blob_.size())
    return invalid("claims a header of " + std::to_string(end) + " bytes");

  const auto section = [&](size_t field, size_t& from, size_t& to) {
    from = end + word(field);
    to = from + word(field + 4);
    return to <= blob_.size();
  };
  if (!section(8, types_, typesEnd_)) return invalid("has types behind its end");
  if (!section(16, strings_, stringsEnd_)) return invalid("has strings behind its end");
  if (end >= kHeaderWithLayoutBytes && !section(24, layout_, layoutEnd_))
    return invalid("has a layout behind its end");
  // Then each offset into the strings leads to one that ends.
  if (strings_ == stringsEnd_ || blob_[strings_] != std::byte{} || blob_[stringsEnd_ - 1] != std::byte{}) {
    return invalid("has strings that do not begin and end with NUL");
  }
  return std::nullopt;
}

std::optional<Error> Btf::indexTypes() {
  const size_t names = stringsEnd_ - strings_;
  uint32_t lastName = 0;
  uint32_t lastType = 0;
  offsets_.reserve((typesEnd_ - types_) / (2 * kRecordBytes) + 1);
  offsets_.push_back(0);  // void

  for (size_t at = types_; at < typesEnd_;) {
    const auto wrong = [&](const char* what) {
      return invalid("has a type " + std::to_string(offsets_.size()) + " at " + hex(at) + " that " + what);
    };
    if (typesEnd_ - at < kRecordBytes) return wrong("is cut off");
    if (offsets_.size() > kMaxTypes) return wrong("is one too many");
    const uint32_t info = word(at + 4);
    const uint32_t kind = info >> 24 & 0x7f;
    const size_t count = info & 0xffffff;
    if (kind == 0) return wrong("has no kind");

    size_t tail = at + kRecordBytes;
    const size_t left = typesEnd_ - tail;
    lastName = std::max(lastName, word(at));
    offsets_.push_back(static_cast<uint32_t>(at));
    if (kind >= kKinds.size()) {
      if (layoutEnd_ - layout_ < (kind + 1) * kLayoutBytes) return wrong("is of a kind that is not known");
      const uint32_t shape = word(layout_ + kind * kLayoutBytes);
      const size_t size = (shape & 0xff) + count * (shape >> 8 & 0xff);
      if (size > left) return wrong("is cut off");
      at = tail + size;
      continue;
    }

    const KindShape& shape = kKinds[kind];
    if (shape.tailBytes + count * shape.elementBytes > left) return wrong("is cut off");
    if (shape.refersToType) lastType = std::max(lastType, word(at + 8));
    for (const int8_t index : shape.tailTypes) {
      if (index != kNone) lastType = std::max(lastType, word(tail + index * sizeof(uint32_t)));
    }
    tail += shape.tailBytes;
    if (shape.elementBytes > 0) {
      const size_t end = tail + count * shape.elementBytes;
      for (size_t element = tail; element < end; element += shape.elementBytes) {
        if (shape.elementName != kNone) {
          lastName = std::max(lastName, word(element + shape.elementName * sizeof(uint32_t)));
        }
        if (shape.elementType != kNone) {
          lastType = std::max(lastType, word(element + shape.elementType * sizeof(uint32_t)));
        }
      }
      tail = end;
    }
    at = tail;
  }
  if (lastName >= names) return invalid("has a name at " + hex(lastName) + ", behind its strings");
  if (lastType >= offsets_.size()) {
    return invalid("refers to type " + std::to_string(lastType) + " of " + std::to_string(offsets_.size()));
  }
  return std::nullopt;
}

void Btf::indexNames() {
  std::vector<uint32_t> ids;
  for (uint32_t id = 1; id < offsets_.size(); ++id) {
    const Type candidate = type(id);
    if (candidate.name != 0 && candidate.is(kAggregates | kEnums)) ids.push_back(id);
  }
  size_t slots = 16;
  while (slots < 2 * ids.size()) slots *= 2;
  names_.resize(slots);

  for (const uint32_t id : ids) {
    const Type candidate = type(id);
    const std::string_view name = string(candidate.name);
    const uint32_t kinds = candidate.is(kAggregates) ? kAggregates : kEnums;
    size_t slot = hash_(name) & (slots - 1);
    for (; names_[slot] != 0; slot = (slot + 1) & (slots - 1)) {
      const Type other = type(names_[slot]);
      if (other.is(kinds) && string(other.name) == name) break;
    }
    if (names_[slot] == 0) names_[slot] = id;
  }
}

Btf::Type Btf::type(uint32_t id) const {
  if (id == 0) return {};
  const size_t at = offsets_[id];
  const uint32_t info = word(at + 4);
  return {id, word(at), info >> 24 & 0x7f, info >> 31 != 0, info & 0xffffff, word(at + 8), at + kRecordBytes};
}

std::string_view Btf::string(uint32_t offset) const {
  const char* text = reinterpret_cast<const char*>(blob_.data()) + strings_ + offset;
  return {text, strnlen(text, kMaxNameLength)};
}

std::optional<uint32_t> Btf::named(std::string_view name, uint32_t kinds) const {
  size_t slot = hash_(name) & (names_.size() - 1);
  for (; names_[slot] != 0; slot = (slot + 1) & (names_.size() - 1)) {
    const Type candidate = type(names_[slot]);
    if (candidate.is(kinds) && string(candidate.name) == name) return candidate.id;
  }
  return std::nullopt;
}

/// Behind typedefs and qualifiers.
std::optional<uint32_t> Btf::resolved(uint32_t id, TypeSteps& steps) const {
  while (type(id).is(kAliases)) {
    if (!steps.take()) return std::nullopt;
    id = type(id).sizeOrType;
  }
  return id;
}

/// Size of a type, and of how many elements it consists.
std::optional<Btf::Extent> Btf::extent(uint32_t id, TypeSteps& steps) const {
  uint64_t elements = 1;
  for (;;) {
    const auto target = resolved(id, steps);
    if (!target || !steps.take()) return std::nullopt;
    const Type found = type(*target);
    if (!found.is(bit(kArray))) {
      constexpr uint32_t kSized = kAggregates | kEnums | bit(kInt) | bit(kFloat);
      if (!found.is(kSized | bit(kPtr))) return std::nullopt;
      const uint64_t size = elements * (found.is(bit(kPtr)) ? kPointerBytes : found.sizeOrType);
      if (size > std::numeric_limits<uint32_t>::max()) return std::nullopt;
      return Extent{static_cast<uint32_t>(size), static_cast<uint32_t>(elements)};
    }
    elements *= word(found.tail + 8);
    if (elements > std::numeric_limits<uint32_t>::max()) return std::nullopt;
    id = word(found.tail);
  }
}

/// The member of a structure or union, or of an anonymous one in it.
std::optional<Btf::Member> Btf::member(uint32_t id, std::string_view name, TypeSteps& steps) const {
  const Type owner = type(id);
  if (!owner.is(kAggregates) || !steps.descend()) return std::nullopt;
  std::optional<Member> found;
  for (uint32_t i = 0; i < owner.count && !found && steps.take(); ++i) {
    const size_t at = owner.tail + size_t{i} * kKinds[kStruct].elementBytes;
    const uint32_t nameOffset = word(at);
    const uint32_t offset = word(at + 8);
    // With kind_flag the offset holds the size of a bit-field too.
    const Member candidate{word(at + 4), owner.kindFlag ? offset & 0xffffff : offset,
                           owner.kindFlag ? offset >> 24 : 0};
    if (nameOffset != 0) {
      if (string(nameOffset) == name) found = candidate;
      continue;
    }
    const auto anonymous = resolved(candidate.type, steps);
    if (!anonymous) break;
    found = member(*anonymous, name, steps);
    if (found) found->bitOffset += candidate.bitOffset;
  }
  steps.ascend();
  return found;
}

std::optional<Field> Btf::field(std::string_view typeName, std::string_view path) const {
  const auto outer = named(typeName, kAggregates);
  if (!outer) return std::nullopt;
  TypeSteps steps(kMaxSteps);
  Member found{*outer, 0, 0};
  for (bool more = true; more;) {
    const size_t dot = path.find('.');
    more = dot != std::string_view::npos;
    const auto owner = found.bits == 0 ? resolved(found.type, steps) : std::nullopt;
    if (!owner) return std::nullopt;
    const auto next = member(*owner, path.substr(0, dot), steps);
    if (!next) return std::nullopt;
    found = {next->type, found.bitOffset + next->bitOffset, next->bits};
    if (more) path.remove_prefix(dot + 1);
  }

  const auto target = resolved(found.type, steps);
  if (!target) return std::nullopt;
  const Type targetType = type(*target);
  // Before kind_flag (5.0) a bit-field's type was an int with fewer bits than it has bytes.
  if (found.bits == 0 && targetType.is(bit(kInt))) {
    const uint32_t encoding = word(targetType.tail);
    const uint32_t bits = encoding & 0xff;
    const uint32_t first = encoding >> 16 & 0xff;
    if (first != 0 || bits != uint64_t{targetType.sizeOrType} * 8) {
      found.bits = bits;
      found.bitOffset += first;
    }
  }

  Field field;
  const uint64_t end = uint64_t{type(*outer).sizeOrType};
  if (found.bitOffset / 8 > end) return std::nullopt;
  field.offset = static_cast<uint32_t>(found.bitOffset / 8);
  if (found.bits > 0) {
    if (found.bits > 64) return std::nullopt;
    field.bitShift = static_cast<uint8_t>(found.bitOffset % 8);
    field.bits = static_cast<uint8_t>(found.bits);
    field.size = (field.bitShift + found.bits + 7) / 8;
  } else {
    const auto whole = extent(*target, steps);
    if (!whole || found.bitOffset % 8 != 0) return std::nullopt;
    field.size = whole->size;
    field.elements = whole->elements;
  }
  if (uint64_t{field.offset} + field.size > end) return std::nullopt;
  return field;
}

std::optional<uint32_t> Btf::sizeOf(std::string_view typeName) const {
  const auto id = named(typeName, kAggregates);
  if (!id) return std::nullopt;
  return type(*id).sizeOrType;
}

std::optional<int64_t> Btf::enumerator(std::string_view typeName, std::string_view name) const {
  const auto id = named(typeName, kEnums);
  if (!id) return std::nullopt;
  const Type found = type(*id);
  const bool wide = found.is(bit(kEnum64));
  for (uint32_t i = 0; i < found.count; ++i) {
    const size_t at = found.tail + size_t{i} * kKinds[found.kind].elementBytes;
    if (string(word(at)) != name) continue;
    const uint32_t low = word(at + 4);
    if (wide) return static_cast<int64_t>(uint64_t{word(at + 8)} << 32 | low);
    // kind_flag: the values are signed.
    return found.kindFlag ? int64_t{static_cast<int32_t>(low)} : int64_t{low};
  }
  return std::nullopt;
}

}  // namespace xfilter
