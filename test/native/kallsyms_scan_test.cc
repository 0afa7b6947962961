#include "kernel/kallsyms_scan.h"

#include <random>

#include "doctest/doctest.h"
#include "fake_memory.h"
#include "kallsyms_builder.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kText{0xffffffff81000000};
constexpr VirtualAddress kRodata{0xffffffff82000000};
constexpr VirtualAddress kEnd{0xffffffff83000000};
constexpr KnownSymbol kStext{"_stext", kText};

std::vector<KallsymsTables> scan(KernelMemory& memory, VirtualAddress begin, VirtualAddress end) {
  Budget budget({}, std::chrono::minutes(1));
  return scanForKallsyms(memory, begin, end, budget);
}

/// The first candidate that loads, as an attach takes it.
std::optional<Kallsyms> scanAndLoad(KernelMemory& memory, VirtualAddress begin = kText,
                                    VirtualAddress end = kEnd) {
  for (const KallsymsTables& tables : scan(memory, begin, end)) {
    auto symbols = Kallsyms::load(memory, tables, kStext);
    if (symbols) return std::move(*symbols);
  }
  return std::nullopt;
}

std::optional<Kallsyms> scanAndLoad(const KallsymsImage& image) {
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  KernelMemory memory(guest.space());
  return scanAndLoad(memory);
}

void checkAll(const Kallsyms& symbols, const KallsymsBuilder& builder) {
  std::vector<std::string_view> names;
  for (const FakeSymbol& symbol : builder.symbols()) names.push_back(symbol.name);
  const auto addresses = symbols.find(names);
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    REQUIRE(addresses[i].has_value());
    CHECK(addresses[i]->value == builder.symbols()[i].address);
  }
}

std::vector<std::byte> noise(size_t size) {
  std::mt19937 random(7);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace

TEST_CASE("kallsyms scan: each release's tables are found in a kernel that does not name them") {
  const KallsymsBuilder builder(kernelSymbols(3000));
  for (const KallsymsStyle& style : kAllStyles) {
    CAPTURE(style.release);
    const auto symbols = scanAndLoad(builder.build(style, kRodata + 0x1238));
    REQUIRE(symbols.has_value());
    CHECK(symbols->size() == 3000);
    checkAll(*symbols, builder);
  }
}

TEST_CASE("kallsyms scan: the tables are found for any count of symbols behind the last marker") {
  for (const size_t count : {257, 511, 512, 513, 767, 768, 769}) {
    const KallsymsBuilder builder(kernelSymbols(count));
    for (const KallsymsStyle& style : kAllStyles) {
      CAPTURE(count);
      CAPTURE(style.release);
      const auto symbols = scanAndLoad(builder.build(style, kRodata));
      REQUIRE(symbols.has_value());
      CHECK(symbols->size() == count);
    }
  }
}

TEST_CASE("kallsyms scan: the tables are found among other data, at every alignment that they can have") {
  const KallsymsBuilder builder(kernelSymbols(1000));
  for (const KallsymsStyle& style : kAllStyles) {
    for (uint64_t offset = 0; offset < 32; offset += style.alignment) {
      CAPTURE(style.release);
      CAPTURE(offset);
      FakeGuest guest;
      guest.map(kRodata, noise(64 << 10));
      const auto image = builder.build(style, kRodata + 0x4000 + offset);
      guest.write(image.start, image.bytes);
      KernelMemory memory(guest.space());
      CHECK(scanAndLoad(memory).has_value());
    }
  }
}

TEST_CASE("kallsyms scan: pages that are not contiguous in the host's memory are searched across") {
  const KallsymsBuilder builder(kernelSymbols(1000));
  for (const KallsymsStyle& style : {kLinux5_10, kLinux7_0}) {
    // The run of digits begins at each place around the end of a page.
    const auto plain = builder.build(style, kRodata);
    const auto digits =
        std::string_view(reinterpret_cast<const char*>(plain.bytes.data()), plain.bytes.size())
            .find(std::string_view("0\0001\0002\0003\0", 8));
    REQUIRE(digits != std::string_view::npos);
    for (uint64_t before = 0; before <= 24; before += style.alignment) {
      CAPTURE(style.release);
      CAPTURE(before);
      const VirtualAddress start{kRodata.value + (2 * kPageSize - digits % kPageSize - before) % kPageSize};
      const auto image = builder.build(style, VirtualAddress{start.value & ~uint64_t{7}});
      FakeGuest guest;
      // Frames in descending order: no two pages are neighbours.
      for (uint64_t page = 64; page-- > 0;) guest.reserve(kRodata + page * kPageSize, kPageSize);
      guest.write(image.start, image.bytes);
      KernelMemory memory(guest.space());
      CHECK(scanAndLoad(memory).has_value());
    }
  }
}

TEST_CASE("kallsyms scan: holes before and behind the tables are passed over") {
  const KallsymsBuilder builder(kernelSymbols(1000));
  const auto image = builder.build(kLinux5_10, kRodata + 8);
  FakeGuest guest;
  guest.map(kText, noise(kPageSize));
  guest.map(image.start, image.bytes);
  guest.map(kEnd - kPageSize, noise(kPageSize));
  KernelMemory memory(guest.space());
  CHECK(scanAndLoad(memory).has_value());
}

TEST_CASE("kallsyms scan: a stale copy of a part of the tables does not hide the real ones") {
  const KallsymsBuilder builder(kernelSymbols(1000));
  const auto image = builder.build(kLinux5_10, kRodata);
  FakeGuest guest;
  // Token table and index without names, at a lower address.
  const size_t tokens = image.tables.tokenTable.value - image.start.value;
  guest.map(kText + 0x100000, std::span(image.bytes).subspan(tokens));
  guest.map(image.start, image.bytes);
  KernelMemory memory(guest.space());
  CHECK(scanAndLoad(memory).has_value());
}

TEST_CASE("kallsyms scan: nothing is looked at outside of the range") {
  const auto image = KallsymsBuilder(kernelSymbols(1000)).build(kLinux5_10, kRodata);
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  KernelMemory memory(guest.space());
  CHECK(scan(memory, kText, kRodata).empty());
  CHECK(scan(memory, kRodata + (2 << 20), kEnd).empty());
  CHECK(scan(memory, kEnd, kText).empty());
  CHECK_FALSE(scan(memory, kText, kEnd).empty());
  CHECK_FALSE(scan(memory, kText, VirtualAddress{~uint64_t{0}}).empty());
}

TEST_CASE("kallsyms scan: memory without tables has no candidate") {
  FakeGuest guest;
  guest.map(kRodata, noise(1 << 20));
  KernelMemory memory(guest.space());
  CHECK(scan(memory, kText, kEnd).empty());
}

TEST_CASE("kallsyms scan: memory full of false anchors is given up on") {
  // Every page is a run of digits; then, every page a whole token table that nothing belongs to.
  const auto image = KallsymsBuilder(kernelSymbols(1000)).build(kLinux5_10, kRodata);
  const size_t tokens = image.tables.tokenTable.value - image.start.value;
  const std::span<const std::byte> decoy = std::span(image.bytes).subspan(tokens);
  const std::string_view digits("0\0001\0002\0003\0004\0005\0006\0007\0008\0009\0", 20);
  for (const auto bytes : {bytesOf(digits), decoy}) {
    FakeGuest guest;
    for (uint64_t at = 0; at < (4 << 20); at += 2 * kPageSize) guest.map(kRodata + at, bytes);
    KernelMemory memory(guest.space());
    CHECK_FALSE(scanAndLoad(memory).has_value());
  }
}

TEST_CASE("kallsyms scan: random damage yields candidates or none, never a crash") {
  const KallsymsBuilder builder(kernelSymbols(800));
  std::mt19937 random(2);
  for (const KallsymsStyle& style : kAllStyles) {
    const auto image = builder.build(style, kRodata);
    for (int round = 0; round < 60; ++round) {
      auto damaged = image;
      for (auto hits = 1 + random() % 8; hits > 0; --hits) {
        damaged.bytes[random() % damaged.bytes.size()] = static_cast<std::byte>(random());
      }
      const auto symbols = scanAndLoad(damaged);
      if (symbols) CHECK(symbols->size() > 0);
    }
  }
}

TEST_CASE("kallsyms scan: one that is aborted ends without a candidate") {
  const auto image = KallsymsBuilder(kernelSymbols(1000)).build(kLinux5_10, kRodata);
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  KernelMemory memory(guest.space());
  std::stop_source stop;
  Budget budget(stop.get_token(), std::chrono::minutes(1));
  CHECK_FALSE(scanForKallsyms(memory, kText, kEnd, budget).empty());
  stop.request_stop();
  CHECK(scanForKallsyms(memory, kText, kEnd, budget).empty());
}
