#include "memory/xen_memory.h"

#include <chrono>
#include <optional>
#include <thread>

#include "doctest/doctest.h"
#include "fake_xen.h"

using namespace xfilter;
using xfilter::test::FakeXen;

namespace {

/// A domain with frames 0x100 to 0x10f, whose first word is their number.
struct Domain {
  static constexpr uint64_t kFirst = 0x100;
  static constexpr uint64_t kPages = 16;

  explicit Domain(uint32_t flags = 0) {
    fake.flags = flags;
    fake.pages = kPages;
    for (uint64_t frame = kFirst; frame < kFirst + kPages; ++frame) fake.give(frame, frame);
  }

  XenDomainId name() const { return {.id = fake.id, .uuid = {fake.uuid}}; }

  Result<std::unique_ptr<XenMemory>> open(bool keepMappings = true) {
    return XenMemory::open(*Xen::open(functions), *XenStore::open(functions), name(), keepMappings);
  }

  FakeXen fake;
  XenLibraries functions = fake.functions();
};

PhysicalAddress frame(uint64_t number) { return {number * kPageSize}; }

std::optional<uint64_t> wordAt(const PhysicalMemory& memory, PhysicalAddress address) {
  const auto bytes = memory.view(address);
  if (bytes.size() < sizeof(uint64_t)) return std::nullopt;
  uint64_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

/// What a walk reads there.
std::optional<uint64_t> walkTo(const XenMemory& memory, uint64_t number) {
  const auto session = memory.session();
  REQUIRE(session);
  return wordAt(*memory.epoch(1), frame(number));
}

template <class Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 1000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return condition();
}

const char* codeOf(const Result<std::unique_ptr<XenMemory>>& memory) { return memory.error().code; }

}  // namespace

TEST_CASE("xen: a frame is mapped when it is first asked for, and stays") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK((*memory)->scattered());
  CHECK((*memory)->size() == Domain::kPages * kPageSize);
  CHECK(walkTo(**memory, 0x103) == 0x103);
  CHECK(walkTo(**memory, 0x103) == 0x103);
  CHECK(domain.fake.mapCalls == 1);
  CHECK(domain.fake.mappedPages == 1);
}

TEST_CASE("xen: what will be read soon is mapped with what is read now, in one call") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto session = (*memory)->session();
  const auto pass = (*memory)->epoch(1);
  for (const uint64_t number : {0x10f, 0x101, 0x107, 0x101}) pass->want(frame(number));
  CHECK(wordAt(*pass, frame(0x105)) == 0x105);
  CHECK(wordAt(*pass, frame(0x10f)) == 0x10f);
  CHECK(domain.fake.mapCalls == 1);
  CHECK(domain.fake.mappedPages == 4);
}

TEST_CASE("xen: a frame that is not the domain's is not there, and is asked for once in a pass") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto pass = (*memory)->epoch(1);
  pass->want(frame(0x500));
  CHECK(wordAt(*pass, frame(0x101)) == 0x101);
  CHECK(pass->view(frame(0x500)).empty());
  CHECK(pass->view(frame(0x500)).empty());
  CHECK(pass->view(frame(uint64_t{1} << 45)).empty());
  CHECK(domain.fake.mapCalls == 1);
}

TEST_CASE("xen: a run ends where the next frame could not be mapped") {
  Domain domain(FakeXen::kHvm);
  domain.fake.take(0x105);
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK_FALSE((*memory)->scattered());
  const auto scan = (*memory)->scan();
  CHECK(scan->view(frame(0x100)).size() == 5 * kPageSize);
  CHECK(scan->view(frame(0x103) + 8).size() == 2 * kPageSize - 8);
  CHECK(scan->view(frame(0x105)).empty());
  CHECK(scan->view(frame(0x106)).size() == 10 * kPageSize);
  CHECK(domain.fake.mapCalls == 1);
}

TEST_CASE("xen: a scan goes over what is there") {
  Domain domain(FakeXen::kHvm);
  domain.fake.give(0x1234, 1);
  domain.fake.take(0x10f);
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto scan = (*memory)->scan();
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  for (auto run = scan->nextStored({0}); run.size > 0; run = scan->nextStored(run.start + run.size))
    runs.emplace_back(run.start.value / kPageSize, run.size / kPageSize);
  CHECK(runs == std::vector<std::pair<uint64_t, uint64_t>>{{0x100, 15}, {0x1234, 1}});
}

TEST_CASE("xen: a domain that gave back pages and got others is not read by the old ones") {
  Domain domain(FakeXen::kHvm);
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK(walkTo(**memory, 0x102) == 0x102);
  CHECK(walkTo(**memory, 0x103) == 0x103);
  domain.fake.take(0x102);
  domain.fake.pages -= 1;
  CHECK(walkTo(**memory, 0x102) == std::nullopt);
  domain.fake.give(0x102, 4711);
  domain.fake.pages += 1;
  CHECK(walkTo(**memory, 0x102) == 4711);
  CHECK(domain.fake.mappedPages == 1);
}

TEST_CASE("xen: nor is one that did both between two walks, which xenstore tells") {
  Domain domain(FakeXen::kHvm);
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK(domain.fake.watched.back() == "/local/domain/7/memory/target");
  CHECK(walkTo(**memory, 0x102) == 0x102);
  domain.fake.give(0x102, 4711);
  CHECK(walkTo(**memory, 0x102) == 0x102);
  domain.fake.tell(domain.fake.watched.back());
  CHECK(soon([&] { return walkTo(**memory, 0x102) == 4711; }));
}

TEST_CASE("xen: a walk that is under way keeps what it has while another one maps anew") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto session = (*memory)->session();
  const auto pass = (*memory)->epoch(1);
  const auto bytes = pass->view(frame(0x102));
  domain.fake.pages -= 1;
  CHECK(walkTo(**memory, 0x102) == 0x102);
  CHECK(domain.fake.mappedPages == 2);
  CHECK(bytes.front() == std::byte{0x02});
}

TEST_CASE("xen: a walk that keeps nothing maps what the last one used in one call") {
  Domain domain;
  const auto memory = domain.open(false);
  REQUIRE(memory);
  for (const size_t calls : {2, 3}) {
    {
      const auto session = (*memory)->session();
      CHECK(wordAt(*(*memory)->epoch(1), frame(0x102)) == 0x102);
      CHECK(wordAt(*(*memory)->epoch(2), frame(0x104)) == 0x104);
      CHECK(domain.fake.mapCalls == calls);
      CHECK(domain.fake.mappedPages == 2);
    }
    CHECK(domain.fake.mappedPages == 0);
  }
}

TEST_CASE("xen: when the domain ends, nothing of it stays mapped, though nobody walks") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK(domain.fake.watched.front() == "@releaseDomain");
  CHECK(walkTo(**memory, 0x102) == 0x102);
  domain.fake.tell("@releaseDomain");  // another one's
  CHECK(walkTo(**memory, 0x102) == 0x102);
  CHECK(domain.fake.mappedPages == 1);
  domain.fake.flags = FakeXen::kDying;
  domain.fake.tell("@releaseDomain");
  CHECK(soon([&] { return domain.fake.mappedPages == 0; }));
  CHECK((*memory)->session().error().code == std::string("SOURCE_GONE"));
  CHECK((*memory)->intact().error().code == std::string("SOURCE_GONE"));
}

TEST_CASE("xen: a scan ends, however far the guest says that its frame numbers go") {
  Domain domain(FakeXen::kHvm);
  domain.fake.give((uint64_t{1} << 39) + 5, 1);
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto scan = (*memory)->scan();
  const auto first = scan->nextStored({0});
  CHECK(first.start == frame(Domain::kFirst));
  CHECK(scan->nextStored(first.start + first.size).size == 0);
  CHECK(scan->intact());
  CHECK(domain.fake.mapCalls < 10'000);
}

TEST_CASE("xen: frames that the domain has not leave nothing mapped, however many are asked for") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto session = (*memory)->session();
  const auto pass = (*memory)->epoch(1);
  for (uint64_t i = 0; i < 2 * XenMappings::kMaxCalls; ++i) CHECK(pass->view(frame(0x1000 + i)).empty());
  CHECK(wordAt(*pass, frame(0x101)) == 0x101);
  CHECK(pass->intact());
  CHECK(domain.fake.mappings == 1);
  CHECK(domain.fake.mappedPages == 1);
}

TEST_CASE("xen: what could not be mapped for want of room is not taken for absent, and room is made") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  CHECK(walkTo(**memory, 0x102) == 0x102);
  CHECK(walkTo(**memory, 0x104) == 0x104);
  CHECK(domain.fake.mappings == 2);
  {
    const auto session = (*memory)->session();
    const auto pass = (*memory)->epoch(1);
    domain.fake.mapError = ENOMEM;
    CHECK(pass->view(frame(0x103)).empty());
    CHECK(pass->intact().error().code == std::string("OUT_OF_MEMORY"));
  }
  domain.fake.mapError = 0;
  CHECK(walkTo(**memory, 0x104) == 0x104);
  CHECK(domain.fake.mappings == 1);
  CHECK(domain.fake.mappedPages == 2);
  domain.fake.mapError = EPERM;
  const auto pass = (*memory)->epoch(1);
  CHECK(pass->view(frame(0x105)).empty());
  CHECK(pass->intact().error().code == std::string("SOURCE_PERMISSION"));
}

TEST_CASE("xen: what is kept is mapped in fewer pieces when there are many, and not again when it is much") {
  constexpr uint64_t kMany = 0x10'0000, kPages = 70'000;
  Domain domain;
  domain.fake.giveMany(kMany, kPages);
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto walk = [&](uint64_t first, uint64_t count, uint64_t together) {
    const auto session = (*memory)->session();
    const auto pass = (*memory)->epoch(1);
    for (uint64_t i = 0; i < count; i += together) {
      for (uint64_t j = 1; j < together; ++j) pass->want(frame(first + i + j));
      CHECK(pass->view(frame(first + i)).size() >= kPageSize);
    }
  };
  const size_t many = XenMappings::kMaxCalls / 2 + 1;
  walk(kMany, many, 1);
  CHECK(domain.fake.mappings == many);
  walk(kMany, 1, 1);
  CHECK(domain.fake.mappings == 1);
  CHECK(domain.fake.mappedPages == many);
  walk(kMany, kPages, 1000);
  CHECK(domain.fake.mappedPages >= kPages);
  walk(kMany, 1, 1);
  CHECK(domain.fake.mappedPages == 1);
}

TEST_CASE("xen: a guest has as much memory as it has now") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  domain.fake.pages = 2 * Domain::kPages;
  CHECK((*memory)->session());
  CHECK((*memory)->size() == 2 * Domain::kPages * kPageSize);
}

TEST_CASE("xen: a walk during which the domain ends is not believed, and lets go") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  {
    const auto session = (*memory)->session();
    const auto pass = (*memory)->epoch(1);
    CHECK(wordAt(*pass, frame(0x102)) == 0x102);
    domain.fake.flags = FakeXen::kDying;
    domain.fake.tell("@releaseDomain");
    CHECK(wordAt(*pass, frame(0x102)) == 0x102);
    CHECK((*memory)->intact().error().code == std::string("SOURCE_GONE"));
  }
  CHECK(domain.fake.mappedPages == 0);
}

TEST_CASE("xen: what was closed leaves nothing mapped") {
  Domain domain;
  {
    const auto memory = domain.open();
    CHECK(walkTo(**memory, 0x102) == 0x102);
  }
  CHECK(domain.fake.mappedPages == 0);
}

TEST_CASE("xen: a domain is known by its uuid, and is gone when it has shut down for good") {
  Domain domain;
  const auto xen = *Xen::open(domain.functions);
  CHECK(xen->require(domain.name()));
  CHECK_FALSE(xen->require({.id = domain.fake.id, .uuid = {99}}));
  CHECK_FALSE(xen->require({.id = domain.fake.id - 1, .uuid = domain.name().uuid}));
  CHECK_FALSE(*xen->domain(domain.fake.id - 1));
  constexpr uint32_t kReboot = 1, kSuspend = 2;
  domain.fake.flags = FakeXen::kShutdown | kSuspend << 16;
  CHECK(xen->require(domain.name()));
  domain.fake.flags = FakeXen::kShutdown | kReboot << 16;
  CHECK(xen->require(domain.name()).error().code == std::string("SOURCE_GONE"));
  CHECK((*xen->domain(domain.fake.id))->shutdown == kReboot);
  CHECK(codeOf(domain.open()) == std::string("SOURCE_GONE"));
}

TEST_CASE("xen: who is not the domain that was meant is not paused") {
  Domain domain;
  const auto xen = *Xen::open(domain.functions);
  CHECK(xen->pause(domain.name()));
  CHECK(domain.fake.pauses == 1);
  CHECK_FALSE(xen->pause({.id = domain.fake.id, .uuid = {99}}));
  CHECK_FALSE(xen->unpause({.id = domain.fake.id, .uuid = {99}}));
  CHECK(domain.fake.pauses == 1);
  CHECK(xen->unpause(domain.name()));
  CHECK(domain.fake.pauses == 0);
  // Its watchdog's time may pass meanwhile.
  constexpr uint32_t kWatchdog = 4;
  CHECK(xen->pause(domain.name()));
  domain.fake.flags = FakeXen::kShutdown | kWatchdog << 16;
  CHECK_FALSE(xen->pause(domain.name()));
  CHECK(xen->unpause(domain.name()));
  CHECK(domain.fake.pauses == 0);
}

TEST_CASE("xen: the registers of each virtual CPU are read when they are asked for") {
  Domain domain;
  const auto memory = domain.open();
  REQUIRE(memory);
  const auto vcpus = (*memory)->vcpus();
  REQUIRE(vcpus.size() == 2);
  CHECK(vcpus[1].rip == 0x1001);
}

TEST_CASE("xen: without Xen, that is said") {
  const auto functions = XenLibraries::load();
  REQUIRE_FALSE(functions);
  CHECK(functions.error().code == std::string("XEN_UNAVAILABLE"));
}

TEST_CASE("xen store: values, names and what is not there") {
  Domain domain;
  domain.fake.store["/local/domain/7/name"] = "vm1";
  domain.fake.store["/local/domain/12/name"] = "vm2";
  const auto store = *XenStore::open(domain.functions);
  CHECK(store->read("/local/domain/7/name").value() == "vm1");
  CHECK(store->read("/local/domain/8/name").value() == std::nullopt);
  CHECK(store->list("/local/domain").value() == std::vector<std::string>{"12", "7"});
  CHECK(store->list("/local/vm").value() == std::nullopt);
}

TEST_CASE("xen store: what cannot be read is not taken for what is not there") {
  Domain domain;
  const auto store = *XenStore::open(domain.functions);
  for (const auto& [error, code] :
       {std::pair{EIO, "XEN_UNAVAILABLE"}, std::pair{EACCES, "SOURCE_PERMISSION"}}) {
    domain.fake.storeError = error;
    const auto value = store->read("/local/domain/7/name");
    REQUIRE_FALSE(value);
    CHECK(value.error().code == std::string(code));
    const auto names = store->list("/libxl/7/device/vif");
    REQUIRE_FALSE(names);
    CHECK(names.error().code == std::string(code));
  }
}
