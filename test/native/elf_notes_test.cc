#include "memory/elf_notes.h"

#include <elf.h>

#include <array>
#include <cstring>

#include "doctest/doctest.h"

using namespace xfilter;

namespace {

/// A QEMU note's contents, by the places that its fields have in the dump.
struct QemuNote {
  std::array<uint64_t, 55> words{};

  QemuNote& set(size_t word, uint64_t value) {
    words[word] = value;
    return *this;
  }
  std::string build(size_t size = 440, uint32_t version = 1) const {
    std::string bytes(reinterpret_cast<const char*>(words.data()), size);
    const auto told = static_cast<uint32_t>(size);
    std::memcpy(bytes.data(), &version, sizeof version);
    std::memcpy(bytes.data() + 4, &told, sizeof told);
    return bytes;
  }
};
// In units of 8 bytes: version and size, sixteen registers, rip, rflags, ten segments of three, cr0 to cr4.
constexpr size_t kRip = 17, kCs = 19, kGsBase = 33, kCr3 = 52, kCr4 = 53, kKernelGs = 54;

std::string note(std::string name, const std::string& content, uint32_t type = 0) {
  name += '\0';
  const Elf64_Nhdr header{static_cast<Elf64_Word>(name.size()), static_cast<Elf64_Word>(content.size()),
                          type};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  for (std::string part : {name, content}) {
    part.resize((part.size() + 3) & ~size_t{3});
    bytes += part;
  }
  return bytes;
}

std::string prStatus(uint64_t rip, uint64_t cs, uint64_t gsBase) {
  std::array<uint64_t, 42> words{};
  words[14 + 16] = rip;
  words[14 + 17] = cs;
  words[14 + 22] = gsBase;
  return {reinterpret_cast<const char*>(words.data()), sizeof words};
}

ElfNotes read(const std::string& notes) { return readElfNotes(std::as_bytes(std::span(notes))); }

}  // namespace

TEST_CASE("notes: QEMU's tell the registers of each vCPU, in their order") {
  const auto user = QemuNote().set(kRip, 0x401000).set(kCs, 0x33).set(kCr3, 0x1ed2000).set(kCr4, 0x1000);
  const auto kernel =
      QemuNote().set(kRip, 0xffffffff81000000).set(kCs, 0x10).set(kGsBase, 0xffff88803ec00000);
  const auto found =
      read(note("CORE", prStatus(1, 0x33, 2), NT_PRSTATUS) + note("CORE", prStatus(3, 0, 4), NT_PRSTATUS) +
           note("QEMU", user.build()) + note("QEMU", kernel.build()));
  REQUIRE(found.vcpus.size() == 2);
  CHECK(found.vcpus[0].rip == 0x401000);
  CHECK(found.vcpus[0].privilege == 3);
  CHECK(found.vcpus[0].cr3 == 0x1ed2000);
  CHECK(found.vcpus[0].cr4 == 0x1000);
  CHECK(found.vcpus[1].privilege == 0);
  CHECK(found.vcpus[1].gsBase == 0xffff88803ec00000);
}

TEST_CASE("notes: the kernel's GS base is known from the size on that has it") {
  const auto state = QemuNote().set(kKernelGs, 0xffff88803ec00000);
  CHECK(read(note("QEMU", state.build(440))).vcpus.at(0).kernelGsBase == 0xffff88803ec00000);
  CHECK_FALSE(read(note("QEMU", state.build(432))).vcpus.at(0).kernelGsBase.has_value());
}

TEST_CASE("notes: a QEMU note of another version or cut short is passed over") {
  CHECK(read(note("QEMU", QemuNote().build(440, 2))).vcpus.empty());
  CHECK(read(note("QEMU", QemuNote().build(400))).vcpus.empty());
}

TEST_CASE("notes: without QEMU's, the process status tells what it has") {
  const auto found =
      read(note("CORE", prStatus(0x401000, 0x33, 7), NT_PRSTATUS) + note("CORE", "other", NT_PRPSINFO));
  REQUIRE(found.vcpus.size() == 1);
  CHECK(found.vcpus[0].rip == 0x401000);
  CHECK(found.vcpus[0].privilege == 3);
  CHECK(found.vcpus[0].gsBase == 7);
  CHECK_FALSE(found.vcpus[0].cr3.has_value());
}

TEST_CASE("notes: broken ones end the reading, and what came before counts") {
  const std::string whole = note("QEMU", QemuNote().build()) + note("VMCOREINFO", "OSRELEASE=6.1.1\n");
  CHECK(read(whole).vmcoreinfo == "OSRELEASE=6.1.1\n");
  for (size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const auto found = read(whole.substr(0, size));
    CHECK(found.vmcoreinfo.empty());
    CHECK(found.vcpus.size() == (size >= note("QEMU", QemuNote().build()).size() ? 1 : 0));
  }
  std::string huge = whole;
  const uint32_t impossible = 0xffff'fff0;
  std::memcpy(huge.data() + 4, &impossible, sizeof impossible);
  CHECK(read(huge).vcpus.empty());
}
