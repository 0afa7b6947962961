#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/symbol_table.h"
#include "kernel/type_source.h"
#include "memory/mapped_file.h"

namespace xfilter {

/// Path of a file from outside the guest. `content` stands for the file's own bytes where the caller had to
/// unpack them.
struct GivenFile {
  std::string path;
  std::shared_ptr<const std::vector<std::byte>> content;
};

/// What a file from outside the guest says of a kernel. The format is found by content: BTF, vmlinux, ISF,
/// System.map or profile; which of these parts are there depends on it.
struct KernelFile {
  std::string path;
  std::string_view format;
  std::shared_ptr<const TypeSource> types;
  SymbolTable symbols;  // where the linker put them
  std::optional<std::string> banner, buildId;
  /// It has DWARF and nothing that is read here: pahole makes BTF of that.
  bool onlyDwarf = false;

  /// TYPES_INVALID, SYMBOLS_INVALID or SOURCE_*, with the path in the message.
  static Result<KernelFile> read(const GivenFile& file);

 private:
  // What `types` may read from.
  std::shared_ptr<const std::vector<std::byte>> unpacked_;
  std::shared_ptr<const MappedFile> mapped_;
};

}  // namespace xfilter
