#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "memory/result.h"

namespace xfilter {

/// The `T` at `offset`, or empty beyond the end of the file.
template <class T>
std::optional<T> at(std::span<const std::byte> file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

/// Whether the file begins as an ELF file does.
bool isElf(std::span<const std::byte> file);

/// The header of an ELF64 core of an x86_64 guest. SOURCE_FORMAT or SOURCE_TRUNCATED say what the file is
/// instead, with `supply` for advice.
Result<Elf64_Ehdr> readElfHeader(std::span<const std::byte> file, const char* supply);

/// SOURCE_TRUNCATED, for a core of either kind.
tl::unexpected<Error> truncatedCore(const std::string& what);

}  // namespace xfilter
