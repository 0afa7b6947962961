#include "kernel/isf.h"

#include <limits>
#include <vector>

#include "kernel/json_reader.h"

namespace xfilter {
namespace {

constexpr uint64_t kMaxOffset = uint64_t{1} << 28;  // of a member; no structure of a kernel is that large
constexpr uint64_t kPointerBytes = 8;
// Characters of the file. The description of a task_struct has some 100,000.
constexpr uint64_t kMaxSteps = 16 << 20;

tl::unexpected<Error> invalid(std::string what) {
  return failure("TYPES_INVALID", std::move(what),
                 "Make it anew from exactly this kernel's vmlinux: `dwarf2json linux --elf`.");
}

/// To the first character that is none of base64's.
std::string decodeBase64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string decoded;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count >= 8) {
      count -= 8;
      decoded += static_cast<char>(bits >> count & 0xff);
    }
  }
  return decoded;
}

}  // namespace

/// A "type": {"kind": …} as the file has it.
struct Isf::Description {
  std::string kind, name;
  std::optional<size_t> inner;  // of an array or a bit-field: where the description of what it holds begins
  uint64_t count = 0;
  std::optional<uint64_t> bitPosition, bitLength;
};

struct Isf::Member {
  size_t description;
  uint64_t offset;
};

Isf::Positions Isf::index(JsonReader& reader, std::string_view text) {
  Positions positions;
  const auto inText = [text](std::string_view key) {
    return key.data() >= text.data() && key.data() < text.data() + text.size();
  };
  reader.object([&](std::string_view key) {
    // A name with an escape in it is none of C's.
    if (inText(key)) positions.try_emplace(key, reader.position());
    reader.skip();
  });
  return positions;
}

void Isf::readSymbols(JsonReader& reader) {
  reader.object([&](std::string_view key) {
    const std::string name(key);
    uint64_t address = 0;
    reader.object([&](std::string_view property) {
      if (property == "address") {
        address = reader.integer().value_or(0);
      } else if (property == "constant_data" && name == "linux_banner") {
        banner_ = decodeBase64(reader.string().value_or(""));
      } else {
        reader.skip();
      }
    });
    // Address 0: declared somewhere, defined nowhere.
    if (address != 0) symbols_.add(name, address);
  });
}

Result<Isf> Isf::parse(std::string_view text) {
  Isf isf;
  isf.text_ = text;
  JsonReader reader(text);
  std::string format;
  reader.object([&](std::string_view key) {
    if (key == "metadata") {
      reader.object([&](std::string_view property) {
        if (property == "format") {
          format = reader.string().value_or("");
        } else {
          reader.skip();
        }
      });
    } else if (key == "base_types") {
      isf.baseTypes_ = index(reader, text);
    } else if (key == "user_types") {
      isf.userTypes_ = index(reader, text);
    } else if (key == "enums") {
      isf.enums_ = index(reader, text);
    } else if (key == "symbols") {
      isf.readSymbols(reader);
    } else {
      reader.skip();
    }
  });
  if (!reader.atEnd()) {
    return invalid("it is not JSON, or not whole, at byte " + std::to_string(reader.position()));
  }
  if (format.empty() || isf.userTypes_.empty())
    return invalid("it has no types in the form of Volatility's symbol files");
  // Before format 6, bit-fields were counted from the other end (dwarf2json's pull request 26).
  if (!format.starts_with("6."))
    return invalid("its format is " + format.substr(0, 16) + ", and only 6 is read");
  return isf;
}

Isf::Description Isf::describe(size_t position) const {
  Description description;
  JsonReader reader(text_, position);
  reader.object([&](std::string_view key) {
    if (key == "kind") {
      description.kind = reader.string().value_or("");
    } else if (key == "name") {
      description.name = reader.string().value_or("");
    } else if (key == "count") {
      description.count = reader.integer(std::numeric_limits<uint32_t>::max()).value_or(0);
    } else if (key == "bit_position") {
      // Some releases of dwarf2json wrote negative ones: then it is not known.
      description.bitPosition = reader.integer();
    } else if (key == "bit_length") {
      description.bitLength = reader.integer();
    } else if (key == "subtype" || key == "type") {
      description.inner = reader.position();
      reader.skip();
    } else {
      reader.skip();
    }
  });
  return reader.ok() ? description : Description{};
}

std::optional<uint64_t> Isf::sizeAt(const Positions& positions, std::string_view name) const {
  const auto found = positions.find(name);
  if (found == positions.end()) return std::nullopt;
  JsonReader reader(text_, found->second);
  std::optional<uint64_t> size;
  reader.object([&](std::string_view key) {
    if (key == "size") {
      size = reader.integer(kMaxOffset);
    } else {
      reader.skip();
    }
  });
  return reader.ok() ? size : std::nullopt;
}

std::optional<Isf::Member> Isf::member(std::string_view type, std::string_view name, TypeSteps& steps) const {
  const auto position = userTypes_.find(type);
  if (position == userTypes_.end() || !steps.take() || !steps.descend()) return std::nullopt;
  std::optional<Member> found;
  std::vector<Member> anonymous;
  JsonReader reader(text_, position->second);
  reader.object([&](std::string_view key) {
    if (key != "fields") return reader.skip();
    reader.object([&](std::string_view fieldName) {
      const bool wanted = fieldName == name;
      bool isAnonymous = fieldName.starts_with("unnamed_field_");
      std::optional<size_t> description;
      std::optional<uint64_t> offset;
      reader.object([&](std::string_view property) {
        if (property == "type") {
          description = reader.position();
          reader.skip();
        } else if (property == "offset") {
          offset = reader.integer(kMaxOffset);
        } else if (property == "anonymous") {
          isAnonymous = reader.boolean().value_or(false);
        } else {
          reader.skip();
        }
      });
      if (!description || !offset) return;
      if (wanted) found = Member{*description, *offset};
      if (isAnonymous) anonymous.push_back({*description, *offset});
    });
  });
  const bool readWhole = reader.ok() && steps.take(reader.position() - position->second);
  if (!readWhole) found.reset();
  for (size_t i = 0; i < anonymous.size() && !found && readWhole; ++i) {
    found = member(describe(anonymous[i].description).name, name, steps);
    if (found) found->offset += anonymous[i].offset;
  }
  steps.ascend();
  return found;
}

/// Size, elements and bits of a member of this type.
bool Isf::measure(Description description, Field& field) const {
  if (description.kind == "bitfield") {
    if (!description.bitPosition || !description.bitLength) return false;
    if (*description.bitPosition >= 64 || *description.bitLength == 0 || *description.bitLength > 64)
      return false;
    field.offset += static_cast<uint32_t>(*description.bitPosition / 8);
    field.bitShift = static_cast<uint8_t>(*description.bitPosition % 8);
    field.bits = static_cast<uint8_t>(*description.bitLength);
    field.size = (field.bitShift + field.bits + 7U) / 8;
    return true;
  }
  uint64_t elements = 1;
  for (int depth = 0; description.kind == "array"; ++depth) {
    elements *= description.count;
    if (depth == TypeSteps::kMaxDepth || !description.inner || elements > kMaxOffset) return false;
    description = describe(*description.inner);
  }
  std::optional<uint64_t> size;
  if (description.kind == "pointer") {
    size = kPointerBytes;
  } else if (description.kind == "base") {
    size = sizeAt(baseTypes_, description.name);
  } else if (description.kind == "enum") {
    size = sizeAt(enums_, description.name);
  } else if (description.kind == "struct" || description.kind == "union") {
    size = sizeAt(userTypes_, description.name);
  }
  if (!size || elements * *size > kMaxOffset) return false;
  field.size = static_cast<uint32_t>(elements * *size);
  field.elements = static_cast<uint32_t>(elements);
  return true;
}

std::optional<Field> Isf::field(std::string_view type, std::string_view path) const {
  const auto whole = sizeOf(type);
  if (!whole) return std::nullopt;
  TypeSteps steps(kMaxSteps);
  std::string owner(type);
  uint64_t offset = 0;
  for (;;) {
    const size_t dot = path.find('.');
    const auto found = member(owner, path.substr(0, dot), steps);
    if (!found) return std::nullopt;
    offset += found->offset;
    const Description description = describe(found->description);
    if (dot == std::string_view::npos) {
      if (offset > *whole) return std::nullopt;
      Field field{.offset = static_cast<uint32_t>(offset)};
      if (!measure(description, field) || uint64_t{field.offset} + field.size > *whole) return std::nullopt;
      return field;
    }
    if (description.kind != "struct" && description.kind != "union") return std::nullopt;
    owner = description.name;
    path.remove_prefix(dot + 1);
  }
}

std::optional<uint32_t> Isf::sizeOf(std::string_view type) const {
  const auto size = sizeAt(userTypes_, type);
  if (!size) return std::nullopt;
  return static_cast<uint32_t>(*size);
}

std::optional<int64_t> Isf::enumerator(std::string_view type, std::string_view name) const {
  const auto position = enums_.find(type);
  if (position == enums_.end()) return std::nullopt;
  JsonReader reader(text_, position->second);
  std::optional<uint64_t> value;
  reader.object([&](std::string_view key) {
    if (key != "constants") return reader.skip();
    reader.object([&](std::string_view constant) {
      if (constant == name) {
        value = reader.integer();
      } else {
        reader.skip();
      }
    });
  });
  if (!reader.ok() || !value) return std::nullopt;
  return static_cast<int64_t>(*value);
}

}  // namespace xfilter
