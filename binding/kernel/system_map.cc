#include "kernel/system_map.h"

#include <charconv>
#include <optional>
#include <string>

namespace xfilter {
namespace {

struct Line {
  uint64_t address;
  std::string_view name;
};

// "ffffffff81000000 T _stext"
std::optional<Line> parse(std::string_view text) {
  constexpr size_t kDigits = 16;
  constexpr size_t kName = kDigits + 3;
  if (text.size() <= kName || text[kDigits] != ' ' || text[kDigits + 2] != ' ') return std::nullopt;
  Line line{0, text.substr(kName)};
  const auto [end, error] = std::from_chars(text.data(), text.data() + kDigits, line.address, 16);
  if (error != std::errc{} || end != text.data() + kDigits) return std::nullopt;
  return line;
}

std::string_view takeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

bool isSystemMap(std::string_view text) { return parse(takeLine(text)).has_value(); }

Result<SymbolTable> readSystemMap(std::string_view text) {
  SymbolTable symbols;
  for (size_t number = 1; !text.empty(); ++number) {
    const std::string_view line = takeLine(text);
    if (line.empty()) continue;
    const auto symbol = parse(line);
    if (!symbol) {
      return failure("SYMBOLS_INVALID",
                     "its line " + std::to_string(number) + " is not an address, a type and a name",
                     "Check that the file is whole.");
    }
    symbols.add(symbol->name, symbol->address);
  }
  return symbols;
}

}  // namespace xfilter
