#include "memory/xen_core.h"

#include <sys/mman.h>

#include "doctest/doctest.h"
#include "xen_core_builder.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

std::string page(char fill) { return std::string(kPageSize, fill); }

std::span<const std::byte> bytesOf(const std::string& file) {
  return std::as_bytes(std::span(file.data(), file.size()));
}

/// Three pages at two places of the machine, in the guest's order.
XenCoreBuilder paravirtual() {
  XenCoreBuilder core;
  core.add(".xen_pages", page('a') + page('b') + page('c'));
  core.words(".xen_p2m", {0, 0x70, 1, 0x71, 2, 0x30});
  return core;
}

XenCoreBuilder translated() {
  XenCoreBuilder core;
  core.add(".xen_pages", page('a') + page('b') + page('c'));
  core.words(".xen_pfn", {0, 1, 0x100});
  return core;
}

std::string errorOf(const XenCoreBuilder& core) {
  const std::string file = core.build();
  const auto map = readXenCore(bytesOf(file));
  return map ? "none" : map.error().code;
}

XenCoreBuilder without(XenCoreBuilder core, const std::string& name) {
  std::erase_if(core.sections, [&](const auto& section) { return section.name == name; });
  return core;
}

}  // namespace

TEST_CASE("xen core: a paravirtual guest's pages lie where the machine has them, runs in one piece") {
  const std::string file = paravirtual().build();
  REQUIRE(isXenCore(bytesOf(file)));
  const auto map = readXenCore(bytesOf(file));
  REQUIRE(map.has_value());
  CHECK(map->scattered);
  REQUIRE(map->segments.size() == 2);
  CHECK(map->segments[0].start == PhysicalAddress{0x70'000});
  CHECK(map->segments[0].size == 2 * kPageSize);
  CHECK(map->segments[1].start == PhysicalAddress{0x30'000});
  CHECK(file[map->segments[0].fileOffset + kPageSize] == 'b');
  CHECK(file[map->segments[1].fileOffset] == 'c');
}

TEST_CASE("xen core: any other guest's pages lie where the guest has them") {
  const std::string file = translated().build();
  const auto map = readXenCore(bytesOf(file));
  REQUIRE(map.has_value());
  CHECK_FALSE(map->scattered);
  REQUIRE(map->segments.size() == 2);
  CHECK(map->segments[0].size == 2 * kPageSize);
  CHECK(map->segments[1].start == PhysicalAddress{0x100'000});
}

TEST_CASE("xen core: a page that was gone when it was to be written is none") {
  XenCoreBuilder core = translated();
  const uint64_t none = ~uint64_t{0};
  std::memcpy(core.sections.back().content.data() + 8, &none, sizeof none);
  const std::string file = core.build();
  const auto map = readXenCore(bytesOf(file));
  REQUIRE(map.has_value());
  REQUIRE(map->segments.size() == 2);
  CHECK(map->segments[0].size == kPageSize);
}

TEST_CASE("xen core: registers, and the GS base that waits, by the mode that the vCPU is in") {
  const std::vector<XenCoreBuilder::Word> common = {
      {0x288, 0xaaaa}, {0x1390, 0x5000}, {0x1398, 0x1000}, {0x1420, 0xf00}, {0x1428, 0xba5}};
  const auto read = [&](XenCoreBuilder core, XenCoreBuilder::Word mode) {
    auto words = common;
    words.push_back(mode);
    core.add(".xen_prstatus", XenCoreBuilder::context(words));
    const std::string file = core.build();
    const auto map = readXenCore(bytesOf(file));
    REQUIRE(map.has_value());
    REQUIRE(map->vcpus.size() == 1);
    CHECK(map->vcpus[0].rip == 0xaaaa);
    CHECK(map->vcpus[0].cr3 == 0x5000);
    return map->vcpus[0];
  };
  const VcpuRegisters kernel = read(paravirtual(), {0x200, 4});
  CHECK(kernel.privilege == 0);
  CHECK(kernel.gsBase == 0xf00);
  CHECK(kernel.kernelGsBase == 0xba5);
  CHECK_FALSE(kernel.cr4.has_value());
  const VcpuRegisters user = read(paravirtual(), {0x200, 0});
  CHECK(user.privilege == 3);
  CHECK(user.gsBase == 0xba5);
  CHECK(user.kernelGsBase == 0xf00);
  // What tells the mode of a paravirtual guest says nothing of another, and the other way round.
  CHECK(read(translated(), {0x290, 0x33}).privilege == 3);
  const VcpuRegisters translatedKernel = read(translated(), {0x290, 0x10});
  CHECK(translatedKernel.privilege == 0);
  CHECK(translatedKernel.gsBase == 0xf00);
  CHECK(translatedKernel.cr4 == 0x1000);
}

TEST_CASE("xen core: what is malformed is refused") {
  CHECK(errorOf(paravirtual()) == "none");
  CHECK(errorOf(without(paravirtual(), ".xen_pages")) == "SOURCE_FORMAT");
  CHECK(errorOf(without(paravirtual(), ".xen_p2m")) == "SOURCE_FORMAT");
  CHECK(errorOf(paravirtual().words(".xen_pfn", {0, 1, 2})) == "SOURCE_FORMAT");

  XenCoreBuilder fewer = paravirtual();
  fewer.sections[1].content.resize(32);
  CHECK(errorOf(fewer) == "SOURCE_FORMAT");
  XenCoreBuilder odd = translated();
  odd.sections[0].content.pop_back();
  CHECK(errorOf(odd) == "SOURCE_FORMAT");
  XenCoreBuilder empty;
  empty.add(".xen_pages", "").add(".xen_pfn", "");
  CHECK(errorOf(empty) == "SOURCE_FORMAT");
  XenCoreBuilder gone;
  gone.add(".xen_pages", page('a')).words(".xen_pfn", {~uint64_t{0}});
  CHECK(errorOf(gone) == "SOURCE_FORMAT");
  XenCoreBuilder beyond;
  beyond.add(".xen_pages", page('a')).words(".xen_pfn", {uint64_t{1} << 40});
  CHECK(errorOf(beyond) == "SOURCE_FORMAT");

  XenCoreBuilder entries = paravirtual();
  entries.header.e_shentsize = 40;
  CHECK(errorOf(entries) == "SOURCE_FORMAT");
  XenCoreBuilder nameless = paravirtual();
  nameless.header.e_shstrndx = 77;
  CHECK(errorOf(nameless) == "SOURCE_FORMAT");
  XenCoreBuilder small = paravirtual();
  small.header.e_machine = EM_386;
  CHECK(errorOf(small) == "SOURCE_FORMAT");
}

TEST_CASE("xen core: what its names do not end with is no name, and what is behind them is none") {
  XenCoreBuilder longer = paravirtual();
  longer.sections[0].name = ".xen_pages.more";
  CHECK(errorOf(longer) == "SOURCE_FORMAT");
  XenCoreBuilder shorter = paravirtual();
  shorter.sections[0].name = ".xen_page";
  CHECK(errorOf(shorter) == "SOURCE_FORMAT");
  // The last name, without its end.
  XenCoreBuilder open = paravirtual();
  open.sections.push_back({".shstrtab", std::string(".xen_pages")});
  open.sections.erase(open.sections.begin());
  open.header.e_shnum = 4;
  open.header.e_shstrndx = 2;
  CHECK(errorOf(open) == "SOURCE_FORMAT");
}

TEST_CASE("xen core: as many pieces as would take the host's memory are refused before they do") {
  // A file of holes names frame 0 for each of its pages.
  const uint64_t count = (uint64_t{1} << 24) + 1;
  XenCoreBuilder core;
  core.add(".xen_pages", "").add(".xen_p2m", "");
  const uint64_t pagesOffset = kPageSize;
  core.sections[0].header.sh_offset = pagesOffset;
  core.sections[0].header.sh_size = count * kPageSize;
  core.sections[1].header.sh_offset = pagesOffset + count * kPageSize;
  core.sections[1].header.sh_size = count * 16;
  const std::string head = core.build();
  const size_t size = core.sections[1].header.sh_offset + core.sections[1].header.sh_size;
  void* const file =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(file != MAP_FAILED);
  std::memcpy(file, head.data(), head.size());
  const auto map = readXenCore({static_cast<const std::byte*>(file), size});
  munmap(file, size);
  REQUIRE_FALSE(map.has_value());
  CHECK(std::string_view(map.error().code) == "SOURCE_FORMAT");
}

TEST_CASE("xen core: one that was cut short says so, at whichever byte") {
  const std::string file = paravirtual().add(".xen_prstatus", XenCoreBuilder::context({})).build();
  REQUIRE(readXenCore(bytesOf(file)).has_value());
  for (size_t size = sizeof(Elf64_Ehdr); size < file.size(); size += 61) {
    CAPTURE(size);
    const std::string part = file.substr(0, size);
    REQUIRE(isXenCore(bytesOf(part)));
    const auto map = readXenCore(bytesOf(part));
    REQUIRE_FALSE(map.has_value());
    CHECK(std::string_view(map.error().code) == "SOURCE_TRUNCATED");
  }
  XenCoreBuilder outside = paravirtual();
  outside.sections[0].header.sh_offset = ~uint64_t{0} - 10;
  CHECK(errorOf(outside) == "SOURCE_TRUNCATED");
  XenCoreBuilder large = paravirtual();
  large.sections[0].header.sh_size = ~uint64_t{0} & ~(kPageSize - 1);
  CHECK(errorOf(large) == "SOURCE_TRUNCATED");
}
