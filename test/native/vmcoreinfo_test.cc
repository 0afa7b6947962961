#include "kernel/vmcoreinfo.h"

#include "doctest/doctest.h"
#include "fake_memory.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr std::string_view kText =
    "OSRELEASE=6.12.107+deb13-amd64\n"
    "PAGESIZE=4096\n"
    "SYMBOL(init_uts_ns)=ffffffff8281a420\n"
    "SYMBOL(_stext)=ffffffff81000000\n"
    "SYMBOL(swapper_pg_dir)=ffffffff82810000\n"
    "NUMBER(phys_base)=-650117120\n"
    "NUMBER(pgtable_l5_enabled)=1\n"
    "KERNELOFFSET=1f600000\n";

}  // namespace

TEST_CASE("vmcoreinfo: symbols are hexadecimal, numbers signed decimal") {
  const auto info = Vmcoreinfo::parse(kText);
  REQUIRE(info.has_value());
  CHECK(info->release() == "6.12.107+deb13-amd64");
  CHECK(info->symbol("_stext")->value == 0xffffffff81000000);
  CHECK(info->number("phys_base") == -650117120);
  CHECK(info->kernelOffset() == 0x1f600000U);
  CHECK_FALSE(info->symbol("kallsyms_names").has_value());
  CHECK_FALSE(info->number("pgtable").has_value());
}

TEST_CASE("vmcoreinfo: what follows the text, or a line that is cut off, is not read") {
  std::string page(kText);
  page += "SYMBOL(init_ta";
  page += '\0';
  page += "SYMBOL(after)=1\n";
  const auto info = Vmcoreinfo::parse(page);
  REQUIRE(info.has_value());
  CHECK(info->text() == kText);
}

TEST_CASE("vmcoreinfo: values that are no numbers are absent, not zero") {
  const auto info = Vmcoreinfo::parse(
      "OSRELEASE=x\nSYMBOL(swapper_pg_dir)=ffffffff82810000\nSYMBOL(a)=zz\nSYMBOL(b)=\n"
      "NUMBER(c)=99999999999999999999\nNUMBER(d)=1 2\n");
  REQUIRE(info.has_value());
  CHECK_FALSE(info->symbol("a").has_value());
  CHECK_FALSE(info->symbol("b").has_value());
  CHECK_FALSE(info->number("c").has_value());
  CHECK_FALSE(info->number("d").has_value());
}

TEST_CASE("vmcoreinfo: a text is one only from its first key on, with a release and a root table") {
  CHECK_FALSE(Vmcoreinfo::parse("").has_value());
  CHECK_FALSE(Vmcoreinfo::parse("OSRELEASE=").has_value());
  CHECK_FALSE(Vmcoreinfo::parse("OSRELEASE=6.1.0").has_value());
  CHECK_FALSE(Vmcoreinfo::parse("OSRELEASE=6.1.0\n").has_value());
  CHECK_FALSE(Vmcoreinfo::parse("PAGESIZE=4096\n" + std::string(kText)).has_value());
  CHECK_FALSE(Vmcoreinfo::parse("OSRELEASE=\nSYMBOL(swapper_pg_dir)=1\n").has_value());
}

TEST_CASE("vmcoreinfo: a scan finds each text that begins a page, and stops when it is told to") {
  FakeMemory memory;
  const auto low = memory.add({0x1000}, 8 * kPageSize);
  const auto high = memory.add({0x1'0000'0000}, 2 * kPageSize);
  const auto put = [](std::span<std::byte> bytes, size_t offset) {
    std::memcpy(bytes.data() + offset, kText.data(), kText.size());
  };
  put(low, 2 * kPageSize);
  put(low, 5 * kPageSize + 16);  // not at the start of a page
  put(high, kPageSize);

  Budget budget({}, std::chrono::minutes(1));
  std::vector<uint64_t> found;
  scanForVmcoreinfo(memory, budget, [&](const Vmcoreinfo&, PhysicalAddress at) {
    found.push_back(at.value);
    return true;
  });
  CHECK(found == std::vector<uint64_t>{0x3000, 0x1'0000'1000});

  int calls = 0;
  scanForVmcoreinfo(memory, budget, [&](const Vmcoreinfo&, PhysicalAddress) { return ++calls < 1; });
  CHECK(calls == 1);
}

TEST_CASE("vmcoreinfo: a scan that is aborted ends, also where nothing is found") {
  FakeMemory memory;
  const auto bytes = memory.add({0}, 1024 * kPageSize);
  std::memcpy(bytes.data() + 1000 * kPageSize, kText.data(), kText.size());
  std::stop_source stop;
  Budget budget(stop.get_token(), std::chrono::minutes(1));
  stop.request_stop();
  scanForVmcoreinfo(memory, budget, [](const Vmcoreinfo&, PhysicalAddress) {
    FAIL("it went on");
    return true;
  });
  CHECK(budget.aborted());
}
