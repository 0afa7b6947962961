#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "memory/address.h"

namespace xfilter {

/// Addresses of symbols as a file from outside has them: before KASLR moved the kernel's image. Keeps only
/// the names that somebody asks for, of the hundred thousand that such a file has.
class SymbolTable {
 public:
  /// Of several symbols of one name, the first counts. `name.NN` stands for `name` where that itself does not
  /// occur: the compiler numbers function-local statics ("inet_ehash_secret.5").
  void add(std::string_view name, uint64_t address);

  std::optional<VirtualAddress> find(std::string_view name) const;
  bool empty() const { return kept_.empty(); }
  /// How many there were.
  size_t size() const { return seen_; }

 private:
  struct Symbol {
    VirtualAddress address;
    bool numbered;
  };
  std::map<std::string, Symbol, std::less<>> kept_;
  size_t seen_ = 0;
};

}  // namespace xfilter
