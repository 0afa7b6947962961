#include "kernel/symbol_table.h"

#include <algorithm>
#include <vector>

#include "kernel/symbols.h"

namespace xfilter {
namespace {

bool isWanted(std::string_view name) {
  static const std::vector<std::string_view> wanted = [] {
    auto names = symbolNames();
    std::sort(names.begin(), names.end());
    return names;
  }();
  return std::binary_search(wanted.begin(), wanted.end(), name);
}

/// "name" of "name.12", and of everything else itself.
std::string_view withoutNumber(std::string_view name) {
  const size_t last = name.find_last_not_of("0123456789");
  const bool numbered = last != std::string_view::npos && name[last] == '.' && last + 1 < name.size();
  return numbered ? name.substr(0, last) : name;
}

}  // namespace

void SymbolTable::add(std::string_view name, uint64_t address) {
  ++seen_;
  const std::string_view stem = withoutNumber(name);
  if (!isWanted(stem)) return;
  const Symbol symbol{{address}, stem.size() != name.size()};
  const auto [known, isNew] = kept_.try_emplace(std::string(stem), symbol);
  if (!isNew && known->second.numbered && !symbol.numbered) known->second = symbol;
}

std::optional<VirtualAddress> SymbolTable::find(std::string_view name) const {
  const auto found = kept_.find(name);
  if (found == kept_.end()) return std::nullopt;
  return found->second.address;
}

}  // namespace xfilter
