#include "kernel/profile.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <set>

#include "kernel/json_reader.h"
#include "kernel/symbols.h"

namespace xfilter {
namespace {

constexpr std::string_view kVersionKey = "xfilterProfile";
constexpr uint64_t kVersion = 1;
constexpr char kNull[] = "null";
constexpr uint64_t kMaxOffset = uint64_t{1} << 28;

tl::unexpected<Error> invalid(std::string what) {
  return failure("TYPES_INVALID", std::move(what),
                 "Make it anew with `xfilter profile` from exactly this kernel's vmlinux.");
}

std::string madeEarlier(std::string_view question) {
  return "was made by an earlier xfilter and does not say of " + std::string(question);
}

std::string nameOf(std::string_view type, std::string_view member) {
  return std::string(type) + '.' + std::string(member);
}

std::string quoted(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
      json += escape.data();
      continue;
    }
    if (c == '"' || c == '\\') json += '\\';
    json += c;
  }
  return json + '"';
}

std::string hex(uint64_t value) {
  std::array<char, 19> text{};
  std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

std::optional<uint64_t> parseHex(std::string_view text) {
  uint64_t value = 0;
  if (!text.starts_with("0x")) return std::nullopt;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + 2, end, value, 16);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

Field readField(JsonReader& reader) {
  Field field;
  reader.object([&](std::string_view key) {
    if (key == "offset") {
      field.offset = static_cast<uint32_t>(reader.integer(kMaxOffset).value_or(0));
    } else if (key == "size") {
      field.size = static_cast<uint32_t>(reader.integer(kMaxOffset).value_or(0));
    } else if (key == "elements") {
      field.elements = static_cast<uint32_t>(reader.integer(kMaxOffset).value_or(0));
    } else if (key == "bitShift") {
      field.bitShift = static_cast<uint8_t>(reader.integer(7).value_or(0));
    } else if (key == "bits") {
      field.bits = static_cast<uint8_t>(reader.integer(64).value_or(0));
    } else {
      reader.skip();
    }
  });
  return field;
}

std::string toJson(const Field& field) {
  std::string json = "{ \"offset\": " + std::to_string(field.offset);
  json += ", \"size\": " + std::to_string(field.size);
  if (field.elements != 1) json += ", \"elements\": " + std::to_string(field.elements);
  if (field.bits != 0) {
    json += ", \"bitShift\": " + std::to_string(field.bitShift);
    json += ", \"bits\": " + std::to_string(field.bits);
  }
  return json + " }";
}

/// One member a line.
class ObjectWriter {
 public:
  explicit ObjectWriter(std::string indent) : indent_(std::move(indent)) {}
  void add(std::string_view key, std::string_view value) {
    if (!json_.empty()) json_ += ',';
    json_.append("\n").append(indent_).append("  ").append(quoted(key)).append(": ").append(value);
  }
  std::string close() const { return "{" + json_ + "\n" + indent_ + "}"; }

 private:
  std::string indent_;
  std::string json_;
};

}  // namespace

std::optional<Field> Profile::Recorder::field(std::string_view type, std::string_view path) const {
  return profile_.members_.insert_or_assign(nameOf(type, path), types_.field(type, path)).first->second;
}

std::optional<uint32_t> Profile::Recorder::sizeOf(std::string_view type) const {
  return profile_.sizes_.insert_or_assign(std::string(type), types_.sizeOf(type)).first->second;
}

std::optional<int64_t> Profile::Recorder::enumerator(std::string_view type, std::string_view name) const {
  return profile_.enumerators_.insert_or_assign(nameOf(type, name), types_.enumerator(type, name))
      .first->second;
}

std::optional<Error> Profile::Recorder::unanswered() const { return types_.unanswered(); }

bool Profile::recognises(std::string_view text) {
  constexpr size_t kHead = 256;
  return text.substr(0, kHead).find(quoted(kVersionKey)) != std::string_view::npos;
}

Result<Profile> Profile::parse(std::string_view text) {
  Profile profile;
  std::optional<uint64_t> version;
  std::string badAddress;
  std::set<std::string, std::less<>> mentioned;
  JsonReader reader(text);
  // Each member of the object at hand, by its name.
  const auto each = [&reader](auto&& read) {
    reader.object([&](std::string_view key) { read(std::string(key)); });
  };
  const auto answers = [&](auto& into, auto&& read) {
    each([&](const std::string& name) {
      if (reader.null()) {
        into.insert_or_assign(name, std::nullopt);
      } else {
        into.insert_or_assign(name, read());
      }
    });
  };
  const auto symbol = [&](const std::string& name) {
    mentioned.insert(name);
    if (reader.null()) return;
    const auto address = parseHex(reader.string().value_or(""));
    if (address) {
      profile.symbols.add(name, *address);
    } else if (badAddress.empty()) {
      badAddress = name;
    }
  };
  each([&](const std::string& section) {
    if (section == kVersionKey) {
      version = reader.integer();
    } else if (section == "kernel") {
      each([&](const std::string& key) {
        if (key == "banner") {
          profile.banner = reader.string();
        } else if (key == "buildId") {
          profile.buildId = reader.string();
        } else {
          reader.skip();
        }
      });
    } else if (section == "symbols") {
      each(symbol);
    } else if (section == "members") {
      answers(profile.members_, [&] { return readField(reader); });
    } else if (section == "sizes") {
      answers(profile.sizes_, [&] { return static_cast<uint32_t>(reader.integer(kMaxOffset).value_or(0)); });
    } else if (section == "enumerators") {
      answers(profile.enumerators_, [&] { return static_cast<int64_t>(reader.integer().value_or(0)); });
    } else {
      reader.skip();
    }
  });
  if (!reader.atEnd()) {
    return invalid("it is not a profile's JSON, or not whole, at byte " + std::to_string(reader.position()));
  }
  if (!version || *version != kVersion) {
    return invalid("it is a profile of version " + (version ? std::to_string(*version) : "?") +
                   ", and only " + std::to_string(kVersion) + " is read");
  }
  if (!badAddress.empty()) return invalid("its symbol " + badAddress + " has no address like \"0x…\"");
  // One without any was made of types alone.
  for (const auto name : symbolNames()) {
    if (!mentioned.empty() && mentioned.find(name) == mentioned.end())
      return invalid("it " + madeEarlier(name));
  }
  return profile;
}

template <class T>
std::optional<T> Profile::answer(const Answers<T>& answers, std::string_view name) const {
  const auto found = answers.find(name);
  if (found != answers.end()) return found->second;
  if (!unanswered_) unanswered_ = name;
  return std::nullopt;
}

std::optional<Field> Profile::field(std::string_view type, std::string_view path) const {
  return answer(members_, nameOf(type, path));
}

std::optional<uint32_t> Profile::sizeOf(std::string_view type) const { return answer(sizes_, type); }

std::optional<int64_t> Profile::enumerator(std::string_view type, std::string_view name) const {
  return answer(enumerators_, nameOf(type, name));
}

std::optional<Error> Profile::unanswered() const {
  if (!unanswered_) return std::nullopt;
  return invalid("The profile " + madeEarlier(*unanswered_) + ".").value();
}

std::string Profile::toJson() const {
  const std::string indent = "  ";
  ObjectWriter kernel(indent), addresses(indent), members(indent), sizes(indent), enumerators(indent);
  if (banner) kernel.add("banner", quoted(*banner));
  if (buildId) kernel.add("buildId", quoted(*buildId));
  for (const auto name : symbolNames()) {
    if (symbols.empty()) break;
    const auto address = symbols.find(name);
    addresses.add(name, address ? quoted(hex(address->value)) : kNull);
  }
  for (const auto& [name, field] : members_) members.add(name, field ? xfilter::toJson(*field) : kNull);
  for (const auto& [name, size] : sizes_) sizes.add(name, size ? std::to_string(*size) : kNull);
  for (const auto& [name, value] : enumerators_)
    enumerators.add(name, value ? std::to_string(*value) : kNull);

  ObjectWriter profile("");
  profile.add(kVersionKey, std::to_string(kVersion));
  profile.add("kernel", kernel.close());
  profile.add("symbols", addresses.close());
  profile.add("members", members.close());
  profile.add("sizes", sizes.close());
  profile.add("enumerators", enumerators.close());
  return profile.close() + "\n";
}

}  // namespace xfilter
