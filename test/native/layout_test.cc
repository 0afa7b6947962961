#include "kernel/layout.h"

#include "doctest/doctest.h"

using namespace xfilter;

namespace {

/// Types that have whatever is asked for: as a hostile guest's may.
struct AnyTypes final : TypeSource {
  uint32_t size = 64;
  uint32_t elements = 1;

  std::optional<Field> field(std::string_view, std::string_view) const override {
    return Field{.offset = 0, .size = 8, .elements = elements};
  }
  std::optional<uint32_t> sizeOf(std::string_view) const override { return size; }
  std::optional<int64_t> enumerator(std::string_view, std::string_view) const override { return 1; }
};

std::optional<Layout> layoutOf(const AnyTypes& types) {
  auto layout = Layout::resolve(types);
  if (!layout) return std::nullopt;
  return std::move(*layout);
}

}  // namespace

TEST_CASE("layout: types that have everything leave nothing missing") {
  AnyTypes types;
  types.elements = 16;
  const auto layout = layoutOf(types);
  REQUIRE(layout);
  CHECK(layout->missing.empty());
  CHECK(layout->tcp.has_value());
  CHECK(layout->udp.has_value());
}

TEST_CASE("layout: a table of buckets without room for a pointer costs that table, not the reader") {
  AnyTypes types;
  types.elements = 16;
  for (const uint32_t size : {0U, 7U}) {
    types.size = size;
    const auto layout = layoutOf(types);
    REQUIRE(layout);
    CHECK_FALSE(layout->tcp.has_value());
    CHECK_FALSE(layout->udp.has_value());
    CHECK(layout->missing.size() == 2);
  }
}

TEST_CASE("layout: no array is longer than any kernel's") {
  AnyTypes types;
  types.elements = 1 << 28;
  CHECK_FALSE(layoutOf(types).has_value());
}
