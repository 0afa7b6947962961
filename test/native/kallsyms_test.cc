#include "kernel/kallsyms.h"

#include <random>

#include "doctest/doctest.h"
#include "fake_memory.h"
#include "kallsyms_builder.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kRodata{0xffffffff82000000};
constexpr VirtualAddress kText{0xffffffff81000000};
constexpr KnownSymbol kStext{"_stext", kText};

Result<Kallsyms> load(const KallsymsImage& image, const KnownSymbol& known = kStext) {
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  KernelMemory memory(guest.space());
  return Kallsyms::load(memory, image.tables, known);
}

std::optional<VirtualAddress> find(const Kallsyms& symbols, std::string_view name) {
  return symbols.find(std::span(&name, 1)).front();
}

/// Whether each symbol of the builder is found at its address.
void checkAll(const Kallsyms& symbols, const KallsymsBuilder& builder) {
  std::vector<std::string_view> names;
  for (const FakeSymbol& symbol : builder.symbols()) names.push_back(symbol.name);
  const auto addresses = symbols.find(names);
  REQUIRE(addresses.size() == names.size());
  for (size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    REQUIRE(addresses[i].has_value());
    CHECK(addresses[i]->value == builder.symbols()[i].address);
  }
}

}  // namespace

TEST_CASE("kallsyms: each release's tables decode to every symbol") {
  const KallsymsBuilder builder(kernelSymbols(2000));
  for (const KallsymsStyle& style : kAllStyles) {
    CAPTURE(style.release);
    const auto symbols = load(builder.build(style, kRodata));
    REQUIRE(symbols.has_value());
    CHECK(symbols->size() == 2000);
    checkAll(*symbols, builder);
  }
}

TEST_CASE("kallsyms: the encoding of the addresses is found by the known symbol") {
  const KallsymsBuilder builder(kernelSymbols(600));
  CHECK(load(builder.build(kLinux4_4, kRodata))->encoding() == "absolute");
  CHECK(load(builder.build(kLinux5_10, kRodata))->encoding() == "base-relative per-CPU");
  CHECK(load(builder.build(kLinux6_15, kRodata))->encoding() == "base-relative");
  CHECK(load(builder.build(kLinux7_0, kRodata))->encoding() == "place-relative");
}

TEST_CASE("kallsyms: a kernel moved by KASLR is decoded with its moved base") {
  constexpr uint64_t kSlide = 0x1f600000;
  const KallsymsBuilder builder(kernelSymbols(600, kText.value + kSlide));
  for (const KallsymsStyle& style : kAllStyles) {
    CAPTURE(style.release);
    const auto symbols = load(builder.build(style, kRodata + kSlide), {"_stext", kText + kSlide});
    REQUIRE(symbols.has_value());
    checkAll(*symbols, builder);
  }
}

TEST_CASE("kallsyms: names too long for one length byte are read, before and behind others") {
  auto list = kernelSymbols(300);
  // Characters that occur nowhere else do not compress.
  std::string longest;
  for (int i = 0; i < 511; ++i) longest += static_cast<char>('A' + i * 7 % 26);
  list.push_back({'t', longest, kText.value + 0x800});
  list.push_back({'t', "behind_it", kText.value + 0x900});
  const KallsymsBuilder builder(list);
  const auto symbols = load(builder.build(kLinux6_6, kRodata));
  REQUIRE(symbols.has_value());
  checkAll(*symbols, builder);
}

TEST_CASE("kallsyms: a length byte with bit 7 set is a plain length before 6.1") {
  auto list = kernelSymbols(300);
  std::string name;
  for (int i = 0; i < 200; ++i) name += static_cast<char>('A' + i * 7 % 26 + (i % 3 ? 0 : 32));
  list.push_back({'t', name, kText.value + 0x800});
  const KallsymsBuilder builder(list);
  const auto symbols = load(builder.build(kLinux5_10, kRodata));
  REQUIRE(symbols.has_value());
  checkAll(*symbols, builder);
}

TEST_CASE("kallsyms: a name that the kernel does not have is empty, and costs the others nothing") {
  const auto symbols = load(KallsymsBuilder(kernelSymbols(300)).build(kLinux6_6, kRodata));
  REQUIRE(symbols.has_value());
  const std::vector<std::string_view> names = {"no_such_symbol", "_stext", "",       "_stex",
                                               "_stext_",        "_stext", "T_stext"};
  const auto addresses = symbols->find(names);
  REQUIRE(addresses.size() == names.size());
  CHECK(addresses[1] == kText);
  CHECK(addresses[5] == kText);
  for (const size_t i : {0, 2, 3, 4, 6}) CHECK_FALSE(addresses[i].has_value());
  CHECK(symbols->find({}).empty());
}

TEST_CASE("kallsyms: of several symbols of one name the first is found") {
  auto list = kernelSymbols(300);
  list.push_back({'t', "cleanup", kText.value + 0x700});
  list.push_back({'t', "cleanup", kText.value + 0x300});
  const auto symbols = load(KallsymsBuilder(list).build(kLinux6_6, kRodata));
  CHECK(find(*symbols, "cleanup") == kText + 0x300);
}

TEST_CASE("kallsyms: a function-local static is found without the compiler's number") {
  auto list = kernelSymbols(300);
  list.push_back({'b', "inet_ehash_secret.5", kText.value + 0x300});
  list.push_back({'b', "both.1", kText.value + 0x400});
  list.push_back({'b', "both", kText.value + 0x500});
  list.push_back({'t', "part.cold", kText.value + 0x600});
  const auto symbols = load(KallsymsBuilder(list).build(kLinux6_6, kRodata));
  CHECK(find(*symbols, "inet_ehash_secret") == kText + 0x300);
  CHECK(find(*symbols, "inet_ehash_secret.5") == kText + 0x300);
  CHECK(find(*symbols, "both") == kText + 0x500);
  CHECK_FALSE(find(*symbols, "part").has_value());
}

TEST_CASE("kallsyms: a known symbol at another address, or none, is an error that says so") {
  const auto image = KallsymsBuilder(kernelSymbols(300)).build(kLinux6_6, kRodata);
  const auto moved = load(image, {"_stext", kText + 1});
  REQUIRE_FALSE(moved.has_value());
  CHECK(std::string_view(moved.error().code) == "SYMBOLS_NOT_FOUND");
  CHECK(moved.error().message.find("none of the known encodings") != std::string::npos);
  const auto missing = load(image, {"_stext_of_another", kText});
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().message.find("there is none with the name") != std::string::npos);
}

TEST_CASE("kallsyms: without the tables of addresses there is nothing to find") {
  auto image = KallsymsBuilder(kernelSymbols(300)).build(kLinux6_6, kRodata);
  image.tables.offsets.reset();
  image.tables.relativeBase.reset();
  CHECK_FALSE(load(image).has_value());
}

TEST_CASE("kallsyms: a claim of too many symbols is refused before memory is taken for them") {
  const auto image = KallsymsBuilder(kernelSymbols(300)).build(kLinux6_6, kRodata);
  for (const uint32_t claim : {0U, 4U * 1024 * 1024 + 1, 0xffff'ffffU}) {
    FakeGuest guest;
    guest.map(image.start, image.bytes);
    guest.write(image.tables.numSyms, claim);
    KernelMemory memory(guest.space());
    const auto symbols = Kallsyms::load(memory, image.tables, kStext);
    REQUIRE_FALSE(symbols.has_value());
    CHECK(symbols.error().message.find(std::to_string(claim)) != std::string::npos);
  }
  // One that is allowed, but longer than the names.
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  guest.write(image.tables.numSyms, uint32_t{4} << 20);
  KernelMemory memory(guest.space());
  CHECK_FALSE(Kallsyms::load(memory, image.tables, kStext).has_value());
}

TEST_CASE("kallsyms: a token index that points out of the token table is refused") {
  const auto image = KallsymsBuilder(kernelSymbols(300)).build(kLinux5_10, kRodata);
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  guest.write(image.tables.tokenIndex + 2 * 65, uint16_t{0xffff});
  KernelMemory memory(guest.space());
  const auto symbols = Kallsyms::load(memory, image.tables, kStext);
  REQUIRE_FALSE(symbols.has_value());
  CHECK(symbols.error().message.find("token table") != std::string::npos);
}

TEST_CASE("kallsyms: names that expand beyond any kernel's are passed over") {
  // Each token says 511 characters, so each symbol of more than one token is too long.
  auto image = KallsymsBuilder(kernelSymbols(300)).build(kLinux6_6, kRodata);
  FakeGuest guest;
  guest.map(image.start, image.bytes);
  guest.map(kText, std::vector<std::byte>(511, std::byte{'a'}));
  for (uint16_t i = 0; i < 256; ++i) guest.write(image.tables.tokenIndex + 2 * i, uint16_t{0});
  image.tables.tokenTable = kText;
  KernelMemory memory(guest.space());
  const auto symbols = Kallsyms::load(memory, image.tables, kStext);
  REQUIRE_FALSE(symbols.has_value());
  CHECK(symbols.error().message.find("none with the name") != std::string::npos);
}

TEST_CASE("kallsyms: tables cut off by a hole are refused wherever the hole is") {
  const auto image = KallsymsBuilder(kernelSymbols(3000)).build(kLinux6_6, kRodata);
  const uint64_t pages = (image.bytes.size() + kPageSize - 1) / kPageSize;
  for (uint64_t page = 0; page < pages; ++page) {
    CAPTURE(page);
    FakeGuest guest;
    guest.map(image.start, image.bytes);
    guest.unmap(kRodata + page * kPageSize);
    KernelMemory memory(guest.space());
    const auto symbols = Kallsyms::load(memory, image.tables, kStext);
    // Only the seqs, which nobody reads, lie behind relative_base.
    CHECK(symbols.has_value() == (kRodata + page * kPageSize > *image.tables.relativeBase));
  }
}

TEST_CASE("kallsyms: tables truncated at any byte are refused, never read beyond") {
  const auto image = KallsymsBuilder(kernelSymbols(80)).build(kLinux6_1, kRodata);
  for (size_t size = 0; size < image.bytes.size(); ++size) {
    // The tables end with their page, so that what lies behind is no memory.
    auto cut = image;
    const VirtualAddress start{kRodata.value + (kPageSize - size % kPageSize) % kPageSize};
    const auto moved = [&](std::optional<VirtualAddress>& table) {
      if (table) table = start + (table->value - image.start.value);
    };
    std::optional<VirtualAddress> required[] = {cut.tables.numSyms, cut.tables.names, cut.tables.tokenTable,
                                                cut.tables.tokenIndex};
    for (auto& table : required) moved(table);
    cut.tables.numSyms = *required[0];
    cut.tables.names = *required[1];
    cut.tables.tokenTable = *required[2];
    cut.tables.tokenIndex = *required[3];
    moved(cut.tables.offsets);
    moved(cut.tables.relativeBase);
    cut.start = start;
    cut.bytes.resize(size);
    REQUIRE_FALSE(load(cut).has_value());
  }
}

TEST_CASE("kallsyms: random damage yields an error or a table, never a crash") {
  const KallsymsBuilder builder(kernelSymbols(400));
  std::mt19937 random(1);
  for (const KallsymsStyle& style : kAllStyles) {
    const auto image = builder.build(style, kRodata);
    for (int round = 0; round < 200; ++round) {
      auto damaged = image;
      for (auto hits = 1 + random() % 20; hits > 0; --hits) {
        damaged.bytes[random() % damaged.bytes.size()] = static_cast<std::byte>(random());
      }
      const auto symbols = load(damaged);
      if (symbols) (void)find(*symbols, "_stext");
    }
  }
}
