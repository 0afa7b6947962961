#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace xfilter {

/// A line of /proc/PID/maps: addresses [start, end) of that process.
struct ProcessMapping {
  uint64_t start = 0;
  uint64_t end = 0;
  bool readable = false;
  bool executable = false;
  bool shared = false;
  /// Where in the file it begins. Without a file, `inode` is 0.
  uint64_t fileOffset = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  std::string path;

  uint64_t size() const { return end - start; }
};

/// Reads the text of /proc/PID/maps (Documentation/filesystems/proc.rst), in ascending order as the kernel
/// writes it. Lines of another form are left out.
std::vector<ProcessMapping> parseProcessMaps(std::string_view text);

}  // namespace xfilter
