#include <array>
#include <random>

#include "doctest/doctest.h"
#include "fake_memory.h"
#include "paging/kernel_memory.h"
#include "paging/x86_64.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr uint64_t k2MiB = uint64_t{1} << 21;
constexpr uint64_t k1GiB = uint64_t{1} << 30;
constexpr VirtualAddress kKernel{0xffffffff81000000};
constexpr VirtualAddress kDirectMap{0xffff888000000000};
constexpr VirtualAddress kDirectMap5{0xff11000000000000};  // canonical with five levels only

std::string textAt(KernelMemory& memory, VirtualAddress address, size_t size) {
  std::string text(size, '\0');
  return memory.read(address, text.data(), size) ? text : "";
}

}  // namespace

TEST_CASE("paging: a page of each size leads to its frame, with four levels and five") {
  for (const int levels : {4, 5}) {
    CAPTURE(levels);
    FakeGuest guest(levels);
    guest.mapPage(kKernel, {0x7000}, kPageSize);
    guest.mapPage(kKernel + k2MiB, {3 * k2MiB}, k2MiB);
    guest.mapPage(kDirectMap, {5 * k1GiB}, k1GiB);
    const AddressSpace space = guest.space();

    const auto small = space.translate(kKernel + 0x123);
    REQUIRE(small.has_value());
    CHECK(small->physical.value == 0x7123);
    CHECK(small->pageSize == kPageSize);
    const auto large = space.translate(kKernel + k2MiB + 0x12345);
    REQUIRE(large.has_value());
    CHECK(large->physical.value == 3 * k2MiB + 0x12345);
    CHECK(large->pageSize == k2MiB);
    const auto huge = space.translate(kDirectMap + 0x12345678);
    REQUIRE(huge.has_value());
    CHECK(huge->physical.value == 5 * k1GiB + 0x12345678);
    CHECK(huge->pageSize == k1GiB);
  }
}

TEST_CASE("paging: an address that is not canonical leads nowhere, even if the tables map its lower bits") {
  FakeGuest four(4);
  four.mapPage(kKernel, {0x7000});
  four.mapPage({0x400000}, {0x8000});
  CHECK(four.space().translate({0x400000}).has_value());
  for (const uint64_t address :
       {0x0000ffff81000000U, 0x0001000000400000U, 0x8000000000400000U, 0xfffeffff81000000U}) {
    CHECK_FALSE(four.space().translate({address}).has_value());
  }
  FakeGuest five(5);
  five.mapPage(kDirectMap5, {0x7000});
  CHECK(five.space().translate(kDirectMap5).has_value());
  CHECK_FALSE(five.space().translate({kDirectMap5.value & ~(uint64_t{1} << 60)}).has_value());
  CHECK_FALSE(four.space().translate(kDirectMap5).has_value());
}

TEST_CASE("paging: an entry that is not present at any level leads nowhere") {
  for (int level = 1; level <= 5; ++level) {
    CAPTURE(level);
    FakeGuest guest(5);
    guest.mapPage(kKernel, {0x7000});
    CHECK(guest.space().translate(kKernel).has_value());
    // All other bits set: what a swapped-out page may look like.
    guest.setEntry(kKernel, level, ~FakeGuest::kPresent);
    CHECK_FALSE(guest.space().translate(kKernel).has_value());
  }
}

TEST_CASE("paging: flags, the no-execute bit and a large page's PAT bit are no part of the address") {
  FakeGuest guest;
  constexpr uint64_t kFlags = 0xfff0'0000'0000'0f7f;
  constexpr uint64_t kPat = 1 << 12;
  guest.setEntry(kKernel, 1, 0x7000 | kFlags);
  guest.setEntry(kKernel + k2MiB, 2, 4 * k2MiB | kFlags | FakeGuest::kLargePage | kPat);
  CHECK(guest.space().translate(kKernel)->physical.value == 0x7000);
  CHECK(guest.space().translate(kKernel + k2MiB)->physical.value == 4 * k2MiB);
}

TEST_CASE("paging: bit 7 is no page size in the last level and the first") {
  FakeGuest guest;
  guest.setEntry(kKernel, 1, 0x7000 | FakeGuest::kPresent | FakeGuest::kLargePage);  // PAT of a small page
  CHECK(guest.space().translate(kKernel)->pageSize == kPageSize);
  CHECK(guest.space().translate(kKernel)->physical.value == 0x7000);
  // A PML4 entry with a reserved bit set: read as a table, which is not there.
  guest.setEntry(kDirectMap, 4, uint64_t{1} << 40 | FakeGuest::kPresent | FakeGuest::kLargePage);
  CHECK_FALSE(guest.space().translate(kDirectMap).has_value());
}

TEST_CASE("paging: a table outside of memory leads nowhere, at any level and for the root") {
  for (int level = 2; level <= 4; ++level) {
    CAPTURE(level);
    FakeGuest guest;
    guest.mapPage(kKernel, {0x7000});
    guest.setEntry(kKernel, level, uint64_t{1} << 45 | FakeGuest::kPresent);
    CHECK_FALSE(guest.space().translate(kKernel).has_value());
  }
  FakeGuest guest;
  CHECK_FALSE(AddressSpace(guest.memory(), {uint64_t{1} << 45}, 4).translate(kKernel).has_value());
}

TEST_CASE("paging: a table that leads to itself ends after the levels that there are") {
  FakeGuest guest;
  guest.setEntry(kKernel, 4, guest.root().value | FakeGuest::kPresent);
  (void)guest.space().translate(kKernel);
  // The classic recursive slot: the root's own page, through four levels of itself.
  const VirtualAddress self{0xffff'ffff'ffff'f000};
  guest.setEntry(self, 4, guest.root().value | FakeGuest::kPresent);
  CHECK(guest.space().translate(self)->physical == guest.root());
}

TEST_CASE("kernel memory: what was mapped is read back, across pages that are no neighbours") {
  FakeGuest guest;
  // The second page's frame lies before the first one's.
  guest.reserve(kKernel + kPageSize, kPageSize);
  guest.reserve(kKernel, kPageSize);
  guest.map(kKernel + (kPageSize - 6), bytesOf("crosses the edge"));
  KernelMemory memory(guest.space());
  CHECK(textAt(memory, kKernel + (kPageSize - 6), 16) == "crosses the edge");
  CHECK(memory.view(kKernel + (kPageSize - 6)).size() == 6);
}

TEST_CASE("kernel memory: a read that touches a hole fails, however little of it") {
  FakeGuest guest;
  guest.reserve(kKernel, kPageSize);
  guest.reserve(kKernel + 2 * kPageSize, kPageSize);
  KernelMemory memory(guest.space());
  std::array<std::byte, 3 * kPageSize> buffer;
  CHECK(memory.read(kKernel, buffer.data(), kPageSize));
  CHECK_FALSE(memory.read(kKernel, buffer.data(), kPageSize + 1));
  CHECK_FALSE(memory.read(kKernel, buffer.data(), buffer.size()));
  CHECK_FALSE(memory.read(kKernel - 1, buffer.data(), 2));
  CHECK_FALSE(memory.read<uint64_t>(kKernel + (kPageSize - 4)).has_value());
  CHECK(memory.read<uint32_t>(kKernel + (kPageSize - 4)).has_value());
  CHECK(memory.view(kKernel + kPageSize).empty());
}

TEST_CASE("kernel memory: a read over the end of the address space fails") {
  FakeGuest guest;
  const VirtualAddress last{0xffff'ffff'ffff'f000};
  guest.reserve(last, 1);
  KernelMemory memory(guest.space());
  CHECK(memory.read<uint64_t>({0xffff'ffff'ffff'fff8}).has_value());
  CHECK_FALSE(memory.read<uint64_t>({0xffff'ffff'ffff'fffc}).has_value());
}

TEST_CASE("kernel memory: a large page is handed out to its end, from anywhere in it") {
  FakeGuest guest;
  const PhysicalAddress frame{64 * k2MiB};
  const auto bytes = guest.memory().add(frame, 2 * k2MiB);
  guest.mapPage(kKernel, frame, k2MiB);
  std::memcpy(bytes.data() + 0x12345, "large", 5);
  KernelMemory memory(guest.space());
  for (int round = 0; round < 2; ++round) {  // the second time from the cache
    CHECK(textAt(memory, kKernel + 0x12345, 5) == "large");
    CHECK(memory.view(kKernel).size() == k2MiB);
    CHECK(memory.view(kKernel + 0x12345).size() == k2MiB - 0x12345);
  }
}

TEST_CASE("kernel memory: of a 1 GiB page every part is reached") {
  FakeGuest guest;
  const PhysicalAddress gigabyte{2 * k1GiB};
  guest.mapPage(kDirectMap, gigabyte, k1GiB);
  // The guest has only two pieces of it.
  const auto low = guest.memory().add(gigabyte, k2MiB);
  const auto high = guest.memory().add(gigabyte + (k1GiB - kPageSize), kPageSize);
  std::memcpy(low.data(), "low", 3);
  std::memcpy(high.data(), "high", 4);
  KernelMemory memory(guest.space());
  CHECK(textAt(memory, kDirectMap, 3) == "low");
  CHECK(textAt(memory, kDirectMap + (k1GiB - kPageSize), 4) == "high");
  CHECK(memory.view(kDirectMap + k1GiB / 2).empty());
}

TEST_CASE("kernel memory: a 2 MiB page that straddles the end of a memory range serves what there is") {
  FakeGuest guest;
  const PhysicalAddress frame{64 * k2MiB};
  const auto bytes = guest.memory().add(frame, 3 * kPageSize);
  guest.mapPage(kKernel, frame, k2MiB);
  std::memcpy(bytes.data() + 2 * kPageSize, "inside", 6);
  KernelMemory memory(guest.space());
  for (int round = 0; round < 2; ++round) {
    CHECK(textAt(memory, kKernel + 2 * kPageSize, 6) == "inside");
    CHECK(memory.view(kKernel + 3 * kPageSize).empty());
    CHECK_FALSE(memory.read<uint64_t>(kKernel + (3 * kPageSize - 4)).has_value());
    CHECK(memory.view(kKernel + (k2MiB - 8)).empty());
  }
}

TEST_CASE("kernel memory: a 2 MiB page over two ranges is read across their seam") {
  FakeGuest guest;
  const PhysicalAddress frame{64 * k2MiB};
  const auto before = guest.memory().add(frame, k2MiB / 2);
  const auto behind = guest.memory().add(frame + k2MiB / 2, k2MiB / 2);
  guest.mapPage(kKernel, frame, k2MiB);
  std::memcpy(before.data() + k2MiB / 2 - 3, "one", 3);
  std::memcpy(behind.data(), "two", 3);
  KernelMemory memory(guest.space());
  CHECK(textAt(memory, kKernel + (k2MiB / 2 - 3), 6) == "onetwo");
  // A view is never longer than the host's memory is contiguous.
  CHECK(memory.view(kKernel + (k2MiB / 2 - 3)).size() == 3);
}

TEST_CASE("kernel memory: a mapped page outside of memory reads as missing") {
  FakeGuest guest;
  guest.mapPage(kKernel, {uint64_t{1} << 45});
  guest.mapPage(kKernel + k2MiB, {uint64_t{1} << 45}, k2MiB);
  KernelMemory memory(guest.space());
  CHECK(memory.view(kKernel).empty());
  CHECK(memory.view(kKernel + k2MiB).empty());
}

TEST_CASE("kernel memory: the cache never answers for another address") {
  // Many more pages, small and large, than the cache has entries, with the same low bits, in random order.
  FakeGuest guest;
  std::vector<VirtualAddress> pages;
  for (uint64_t i = 0; i < 3000; ++i) pages.push_back(kKernel + (i % 3) * 0x1000'0000 + i * kPageSize);
  for (const VirtualAddress page : pages) {
    guest.reserve(page, kPageSize);
    guest.write(page + 8, page.value);
  }
  constexpr uint64_t kLargePages = 8;
  const PhysicalAddress frames{64 * k2MiB};
  guest.memory().add(frames, kLargePages * k2MiB);
  for (uint64_t i = 0; i < kLargePages; ++i) {
    const VirtualAddress page = kDirectMap + i * 512 * k2MiB;
    guest.mapPage(page, frames + i * k2MiB, k2MiB);
    guest.write(page + 8, page.value);
    pages.push_back(page);
  }
  KernelMemory memory(guest.space());
  std::mt19937 random(4);
  for (int round = 0; round < 50000; ++round) {
    const VirtualAddress page = pages[random() % pages.size()];
    REQUIRE(memory.read<uint64_t>(page + 8) == page.value);
  }
}

TEST_CASE("kernel memory: neighbours of a cached large page are not taken for it") {
  FakeGuest guest;
  const PhysicalAddress frame{64 * k2MiB};
  guest.memory().add(frame, k2MiB);
  guest.mapPage(kKernel, frame, k2MiB);
  guest.map(kKernel + k2MiB, bytesOf("small"));
  KernelMemory memory(guest.space());
  CHECK(memory.view(kKernel).size() == k2MiB);
  CHECK(textAt(memory, kKernel + k2MiB, 5) == "small");
  CHECK(memory.view(kKernel - 1).empty());
  CHECK(memory.view(kKernel + (k2MiB + kPageSize)).empty());
}

TEST_CASE("kernel memory: a hole is asked for again, so that memory that appears is seen") {
  FakeGuest guest;
  KernelMemory memory(guest.space());
  CHECK(memory.view(kKernel).empty());
  guest.map(kKernel, bytesOf("later"));
  CHECK(textAt(memory, kKernel, 5) == "later");
}

TEST_CASE("paging: random tables lead to memory or nowhere, never to a crash") {
  std::mt19937_64 random(5);
  for (int round = 0; round < 50; ++round) {
    FakeGuest guest(round % 2 ? 5 : 4);
    // Tables of random entries, most of them leading to one another.
    std::vector<PhysicalAddress> tables = {guest.root()};
    for (int i = 0; i < 8; ++i) tables.push_back(guest.allocate(kPageSize));
    for (const PhysicalAddress table : tables) {
      const auto bytes = guest.memory().bytes(table).first(kPageSize);
      for (size_t at = 0; at < kPageSize; at += 8) {
        uint64_t entry = random();
        if (random() % 4) entry = tables[random() % tables.size()].value | (entry & 0xfff) | 1;
        std::memcpy(bytes.data() + at, &entry, sizeof entry);
      }
    }
    KernelMemory memory(guest.space());
    for (int read = 0; read < 2000; ++read) {
      std::array<std::byte, 64> buffer;
      (void)memory.read({random() | (read % 2 ? 0xffff'8000'0000'0000 : 0)}, buffer.data(), buffer.size());
    }
  }
}
