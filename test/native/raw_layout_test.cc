#include "kernel/raw_layout.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "doctest/doctest.h"
#include "kernel/kernel_space.h"

using namespace xfilter;

namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kMiB = uint64_t{1} << 20;

/// The likely layouts of a file that agree with the kernel, by where they split; 0: in one piece.
std::vector<uint64_t> fitting(uint64_t fileSize, uint64_t ramEnd) {
  std::vector<uint64_t> lows;
  for (const RawLayout& layout : likelyRawLayouts(fileSize)) {
    if (layout.fits(fileSize, ramEnd)) lows.push_back(layout.low.value_or(0));
  }
  return lows;
}

}  // namespace

TEST_CASE("raw layout: the kernel's word leaves one, whatever the hypervisor") {
  using Lows = std::vector<uint64_t>;
  CHECK(fitting(4 * kGiB, 6 * kGiB) == Lows{2 * kGiB});                  // q35
  CHECK(fitting(4 * kGiB, 5 * kGiB) == Lows{3 * kGiB});                  // i440fx
  CHECK(fitting(8 * kGiB, 8 * kGiB + 768 * kMiB) == Lows{3328 * kMiB});  // Firecracker
  CHECK(fitting(2560 * kMiB, 2559 * kMiB) == Lows{0});                   // below every hole
  CHECK(fitting(6 * kGiB, 6 * kGiB) == Lows{0});                         // a file that has the hole
}

TEST_CASE("raw layout: a file that was cut off has none") {
  CHECK(fitting(3 * kGiB, 6 * kGiB).empty());
  CHECK(fitting(2 * kGiB + kMiB, 5 * kGiB).empty());
}

TEST_CASE("raw layout: the pieces take the file in order") {
  const auto map = RawLayout{2 * kGiB}.map(5 * kGiB);
  REQUIRE(map.size() == 2);
  CHECK(map[0].size == 2 * kGiB);
  CHECK(map[1].start.value == 4 * kGiB);
  CHECK(map[1].fileOffset == 2 * kGiB);
  CHECK(map[1].size == 3 * kGiB);
}

TEST_CASE("raw layout: a search for a kernel allocates nothing in the holes of a file of the guest's RAM") {
  std::string path = "/dev/shm/xfilter-sparse-XXXXXX";
  const int fd = mkstemp(path.data());
  REQUIRE(fd >= 0);
  REQUIRE(ftruncate(fd, static_cast<off_t>(3 * kGiB)) == 0);
  REQUIRE(pwrite(fd, "data", 4, static_cast<off_t>(kGiB)) == 4);
  struct stat before = {}, after = {};
  REQUIRE(fstat(fd, &before) == 0);
  {
    const auto image = Image::open(path);
    REQUIRE(image.has_value());
    Budget budget({}, std::chrono::minutes(1));
    CHECK_FALSE(findKernelSpaces(**image, budget).has_value());
  }
  REQUIRE(fstat(fd, &after) == 0);
  close(fd);
  unlink(path.c_str());
  CHECK(before.st_blocks > 0);
  CHECK(after.st_blocks == before.st_blocks);
}
