#include "btf_builder.h"
#include "doctest/doctest.h"
#include "fake_memory.h"
#include "kernel/types.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kText{0xffff'ffff'8100'0000};

std::vector<std::byte> typesOf(std::string_view structure) {
  BtfBuilder btf;
  btf.structure(structure, 64, {});
  return btf.build();
}

Result<Types> scan(FakeGuest& guest, Budget budget = Budget({}, std::chrono::minutes(1))) {
  KernelMemory memory(guest.space());
  return typesOfGuest(memory, {}, kText, budget);
}

}  // namespace

TEST_CASE("type scan: the kernel's types are found among others, and behind what only claims to be") {
  FakeGuest guest;
  guest.map(kText + 0x10, typesOf("of_something_else"));
  // 63 MiB of types, in one page.
  const uint32_t claim[] = {0x1eb9f, 24, 0, 63U << 20, 8, 8};
  guest.map(kText + 0x2000, std::as_bytes(std::span(claim)));
  guest.map(kText + (5 << 20), typesOf("task_struct"));
  const auto found = scan(guest);
  REQUIRE(found.has_value());
  CHECK(found->btf.sizeOf("task_struct") == 64U);
}

TEST_CASE("type scan: after a few that are not the kernel's it is given up") {
  FakeGuest guest;
  for (uint64_t i = 0; i < 100; ++i) guest.map(kText + i * kPageSize, typesOf("of_something_else"));
  guest.map(kText + (5 << 20), typesOf("task_struct"));
  const auto found = scan(guest);
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().code == std::string("TYPES_NOT_FOUND"));
}

TEST_CASE("type scan: one that is aborted ends") {
  FakeGuest guest;
  guest.map(kText, typesOf("task_struct"));
  std::stop_source stop;
  stop.request_stop();
  CHECK_FALSE(scan(guest, Budget(stop.get_token(), std::chrono::minutes(1))).has_value());
}
