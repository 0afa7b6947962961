#include "memory/lime.h"

#include <algorithm>
#include <cstring>

namespace xfilter {
namespace {

// One after the other, to the end of the file (LiME's doc/README.md, version 1):
//
//   magic      u32, "EMiL" in memory
//   version    u32, 1
//   first      u64, the first physical address of the range
//   last       u64, the last one: inclusive
//   reserved   8 bytes
//   the range's bytes
struct RangeHeader {
  uint32_t magic, version;
  uint64_t first, last;
  uint64_t reserved;
};
constexpr uint32_t kMagic = 0x4c69'4d45;
constexpr uint32_t kVersion = 1;
constexpr size_t kMaxRanges = 1 << 16;
constexpr uint64_t kPhysicalLimit = uint64_t{1} << 52;

tl::unexpected<Error> badFormat(std::string what) {
  return failure("SOURCE_FORMAT", std::move(what),
                 "Give a LiME dump of version 1 (format=lime), uncompressed, of an x86_64 guest.");
}

tl::unexpected<Error> truncated(const std::string& what) {
  return failure("SOURCE_TRUNCATED", "The LiME dump ends early: " + what + ".",
                 "The dump was cut short (a full disk?) or is still being written: take it again.");
}

}  // namespace

bool isLime(std::span<const std::byte> file) {
  return file.size() >= sizeof kMagic && std::memcmp(file.data(), &kMagic, sizeof kMagic) == 0;
}

Result<ImageMap> readLime(std::span<const std::byte> file) {
  ImageMap map;
  for (uint64_t offset = 0; offset < file.size();) {
    RangeHeader header{};
    if (file.size() - offset < sizeof header) return truncated("the header of a range is cut off");
    std::memcpy(&header, file.data() + offset, sizeof header);
    if (header.magic != kMagic)
      return badFormat("What should be the header of a range in the LiME dump is none.");
    if (header.version != kVersion) {
      return badFormat("The LiME dump has version " + std::to_string(header.version) + ".");
    }
    if (header.last < header.first || header.last >= kPhysicalLimit) {
      return badFormat("A range of the LiME dump has impossible addresses.");
    }
    offset += sizeof header;
    const uint64_t size = header.last - header.first + 1;
    if (file.size() - offset < size) return truncated("a range lies beyond the end of the file");
    if (map.segments.size() == kMaxRanges)
      return badFormat("The LiME dump has an impossible number of ranges.");
    map.segments.push_back({{header.first}, size, offset, size});
    offset += size;
  }
  return map;
}

}  // namespace xfilter
