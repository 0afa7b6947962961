#include "walk/address_index.h"

#include <chrono>

#include "doctest/doctest.h"

using namespace xfilter;

namespace {

constexpr uint32_t kCount = 1 << 16;

std::chrono::nanoseconds timeToInsert(uint64_t stride) {
  const auto start = std::chrono::steady_clock::now();
  AddressIndex index;
  for (uint32_t i = 0; i < kCount; ++i) index.insert({0xffff'8880'0000'0000 + i * stride}, i);
  return std::chrono::steady_clock::now() - start;
}

}  // namespace

TEST_CASE("address index: an address keeps the value that it came with first") {
  AddressIndex index;
  for (uint32_t i = 0; i < kCount; ++i) CHECK(index.insert({i * 64}, i).second);
  for (uint32_t i = 0; i < kCount; ++i) {
    const auto [value, isNew] = index.insert({i * 64}, 0);
    REQUIRE_FALSE(isNew);
    REQUIRE(*value == i);
  }
}

TEST_CASE("address index: a guest cannot make it slow by the addresses that it chooses") {
  // Far apart, so that only their upper bits differ: 2^39 is what one entry of a level-4 page table spans.
  const auto usual = timeToInsert(1 << 12);
  for (const int shift : {20, 30, 39, 47}) {
    CAPTURE(shift);
    CHECK(timeToInsert(uint64_t{1} << shift) < usual * 50);
  }
}
