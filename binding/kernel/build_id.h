#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace xfilter {

/// The GNU build id in ELF notes, in hex: the one by which a kernel and its debug package know each other.
std::optional<std::string> findBuildId(std::span<const std::byte> notes);

}  // namespace xfilter
