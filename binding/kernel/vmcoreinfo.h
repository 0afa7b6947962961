#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "memory/address.h"
#include "memory/budget.h"
#include "memory/physical_memory.h"

namespace xfilter {

/// What the kernel writes down for crash dumps (kernel/vmcore_info.c): lines of KEY=value, in a page of its
/// own. It is the guest's word: whoever uses it checks it against the guest's page tables.
class Vmcoreinfo {
 public:
  /// Reads the lines at the beginning of `text`, to the first byte that belongs to none. Empty unless they
  /// begin with OSRELEASE, as the kernel's do, and name the root page table.
  static std::optional<Vmcoreinfo> parse(std::string_view text);

  /// `uname -r`.
  std::string_view release() const;
  /// SYMBOL(name)
  std::optional<VirtualAddress> symbol(std::string_view name) const;
  /// NUMBER(name)
  std::optional<int64_t> number(std::string_view name) const;
  /// KERNELOFFSET: by how much KASLR moved the kernel's image.
  std::optional<uint64_t> kernelOffset() const;
  const std::string& text() const { return text_; }

 private:
  explicit Vmcoreinfo(std::string text) : text_(std::move(text)) {}
  std::string_view value(std::string_view key) const;

  std::string text_;
};

/// Looks at the start of each stored page for a text that parses, and hands each to `visit`, until that
/// returns false or the budget is spent. Page caches, earlier kernels and nested guests leave copies: expect
/// several.
void scanForVmcoreinfo(const PhysicalMemory& memory, Budget& budget,
                       const std::function<bool(Vmcoreinfo, PhysicalAddress)>& visit);

}  // namespace xfilter
