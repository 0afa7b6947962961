#include "memory/huge_pages.h"

#include <sys/vfs.h>

namespace xfilter {
namespace {

constexpr long kHugetlbfs = 0x958458f6;  // HUGETLBFS_MAGIC

}  // namespace

uint64_t hugePageSize(int file) {
  struct statfs status = {};
  if (fstatfs(file, &status) != 0 || status.f_type != kHugetlbfs) return 0;
  return static_cast<uint64_t>(status.f_bsize);
}

}  // namespace xfilter
