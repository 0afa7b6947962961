#include "walk/owners.h"

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr uint32_t kCap = 16 << 20;

/// Two tables: that of process 0 has 100 descriptors of file 0, that of process 1 has one of file 1, then one
/// of file 2.
FdTables twoTables() {
  FdTables tables;
  for (uint32_t fd = 0; fd < 100; ++fd) tables.descriptors.push_back({fd, 0});
  tables.descriptors.push_back({3, 1});
  tables.descriptors.push_back({4, 2});
  tables.holders.resize(2);
  tables.holders[1].process = 1;
  tables.tables = {{0, 1, 0, 100}, {1, 2, 100, 102}};
  return tables;
}

std::pair<std::vector<Owner>, Quality> owners(const std::vector<Rows>& rows) {
  const FakeKernel kernel;
  const Kernel found = kernel.kernel();
  WalkContext walk{found, KernelMemory(found.space), Budget({}, std::chrono::minutes(1))};
  auto result = ownersOf(walk, twoTables(), rows, 3);
  return {std::move(result), walk.quality};
}

}  // namespace

TEST_CASE("owners: in the order of rows, then of processes and descriptors") {
  const auto [found, quality] = owners({{1, 1}, {0, 1}, {1, 1}});
  REQUIRE(found.size() == 102);
  CHECK(found.front() == Owner{0, 1, 3});
  CHECK(found[1] == Owner{1, 0, 0});
  CHECK(found.back() == Owner{1, 1, 4});
  CHECK(quality.limited == 0);
}

TEST_CASE("owners: if there are too many, those who claim most are left out, and that is counted") {
  const auto [found, quality] = owners({{0, kCap}, {0, 1}, {1, 1}});
  CHECK(found == std::vector<Owner>{{0, 1, 3}, {1, 1, 4}});
  CHECK(quality.limited == 1);
}

TEST_CASE("owners: a claim whose number would wrap is too much, too") {
  const auto [found, quality] = owners({{0, ~uint32_t{0}}, {0, 1}, {0, 0}});
  CHECK(found == std::vector<Owner>{{0, 1, 3}});
  CHECK(quality.limited == 1);
}
