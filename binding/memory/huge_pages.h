#pragma once

#include <cstdint>

namespace xfilter {

/// Bytes of a page of a file in hugetlbfs, of whose pages none is mapped in part; 0 for any other file.
uint64_t hugePageSize(int file);

}  // namespace xfilter
