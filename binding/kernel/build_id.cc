#include "kernel/build_id.h"

#include <elf.h>

#include <cstring>
#include <string_view>

namespace xfilter {

std::optional<std::string> findBuildId(std::span<const std::byte> notes) {
  constexpr std::string_view kName("GNU\0", 4);
  constexpr size_t kMaxBuildId = 64;
  const auto padded = [](uint64_t length) { return (length + 3) & ~uint64_t{3}; };
  for (uint64_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr header{};
    std::memcpy(&header, notes.data() + at, sizeof header);
    const uint64_t name = at + sizeof header;
    const uint64_t content = name + padded(header.n_namesz);
    if (content + header.n_descsz > notes.size()) break;
    if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == kName.size() &&
        header.n_descsz <= kMaxBuildId && std::memcmp(notes.data() + name, kName.data(), kName.size()) == 0) {
      constexpr char kDigits[] = "0123456789abcdef";
      std::string id;
      for (const std::byte b : notes.subspan(content, header.n_descsz)) {
        const auto byte = std::to_integer<unsigned>(b);
        id += {kDigits[byte >> 4], kDigits[byte & 15]};
      }
      return id;
    }
    at = content + padded(header.n_descsz);
  }
  return std::nullopt;
}

}  // namespace xfilter
