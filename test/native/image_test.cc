#include "memory/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "doctest/doctest.h"
#include "elf_builder.h"
#include "xen_core_builder.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

/// A file with this content, gone with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content) {
    const int fd = mkstemp(path_.data());
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/xfilter-image-XXXXXX";
};

std::string page(char fill) { return std::string(kPageSize, fill); }

std::string limeRange(uint64_t first, const std::string& content, uint32_t version = 1) {
  struct {
    char magic[4] = {'E', 'M', 'i', 'L'};
    uint32_t version;
    uint64_t first, last, reserved = 0;
  } header{.version = version, .first = first, .last = first + content.size() - 1};
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + content;
}

std::string errorOf(std::string_view content) {
  const TemporaryFile file(content);
  const auto image = Image::open(file.path());
  return image ? "none" : image.error().code;
}

char byteAt(const Image& image, uint64_t address) {
  const auto bytes = image.view({address});
  return bytes.empty() ? '-' : static_cast<char>(bytes[0]);
}

}  // namespace

TEST_CASE("image: an ELF core's segments are found by their physical addresses") {
  const TemporaryFile file(
      ElfBuilder().load(0x1000, page('a') + page('b')).load(0x1'0000'0000, page('c')).build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->format() == "elf");
  CHECK(byteAt(**image, 0x1000) == 'a');
  CHECK(byteAt(**image, 0x2fff) == 'b');
  CHECK(byteAt(**image, 0x1'0000'0800) == 'c');
  CHECK(byteAt(**image, 0x0fff) == '-');
  CHECK(byteAt(**image, 0x3000) == '-');
  CHECK(byteAt(**image, 0x1'0000'1000) == '-');
  CHECK((*image)->view({0x1800}).size() == 0x1800);
}

TEST_CASE("image: memory that a segment does not store reads as zero, page by page, and is not scanned") {
  const TemporaryFile file(ElfBuilder().load(0x1000, page('a'), 3 * kPageSize).build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK(byteAt(**image, 0x2000) == '\0');
  CHECK(byteAt(**image, 0x3fff) == '\0');
  CHECK((*image)->view({0x2010}).size() == kPageSize - 0x10);
  CHECK((*image)->nextStored({0}).size == kPageSize);
  CHECK((*image)->nextStored({0x2000}).size == 0);
}

TEST_CASE("image: a core of Xen is known by its sections, and its pages are found by the frames it names") {
  XenCoreBuilder core;
  core.add(".xen_pages", page('a') + page('b')).words(".xen_p2m", {0, 0x70, 1, 0x30});
  const TemporaryFile file(core.build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->format() == "xen");
  CHECK((*image)->scattered());
  CHECK_FALSE((*image)->claimsAllRam());
  CHECK(byteAt(**image, 0x70'000) == 'a');
  CHECK(byteAt(**image, 0x30'fff) == 'b');
  CHECK(byteAt(**image, 0) == '-');
  CHECK((*image)->nextStored({0}).start == PhysicalAddress{0x30'000});
}

TEST_CASE("image: of overlapping segments, as in /proc/vmcore, each address is served once") {
  const TemporaryFile file(ElfBuilder()
                               .load(0x2000, page('t'))
                               .load(0x1000, page('a') + page('b') + page('c'))
                               .load(0x3000, page('d') + page('e'))
                               .build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  std::string seen;
  for (uint64_t address = 0x1000; address < 0x6000; address += kPageSize) seen += byteAt(**image, address);
  CHECK(seen == "abce-");
  REQUIRE((*image)->ranges().size() == 1);
  CHECK((*image)->ranges()[0].size == 4 * kPageSize);
}

TEST_CASE(
    "image: the frames that Xen gave a guest twice are one, and neighbours one range, in whichever order") {
  XenCoreBuilder core;
  core.add(".xen_pages", page('d') + page('c') + page('b') + page('a') + page('b') + page('x'));
  core.words(".xen_p2m", {0, 0x73, 1, 0x72, 2, 0x71, 3, 0x70, 4, 0x71, 5, 0x75});
  const TemporaryFile file(core.build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  std::string seen;
  for (uint64_t frame = 0x70; frame < 0x77; ++frame) seen += byteAt(**image, frame * kPageSize);
  CHECK(seen == "abcd-x-");
  REQUIRE((*image)->ranges().size() == 2);
  CHECK((*image)->ranges()[0].start == PhysicalAddress{0x70'000});
  CHECK((*image)->ranges()[0].size == 4 * kPageSize);
  CHECK((*image)->ranges()[1].size == kPageSize);
  // A scan goes once over each.
  uint64_t scanned = 0;
  for (MemoryRange run = (*image)->nextStored({0}); run.size > 0;
       run = (*image)->nextStored(run.start + run.size))
    scanned += run.size;
  CHECK(scanned == 5 * kPageSize);
}

TEST_CASE("image: the VMCOREINFO note is found among others") {
  const TemporaryFile file(ElfBuilder()
                               .note("CORE", "registers")
                               .note("VMCOREINFO", "OSRELEASE=6.1.0\n")
                               .load(0, page('a'))
                               .build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->vmcoreinfoNote() == "OSRELEASE=6.1.0\n");
}

TEST_CASE("image: a core of many segments of notes, each of which may be the whole file, is refused") {
  const auto core = [](int notes) {
    ElfBuilder builder;
    builder.load(0, page('a'));
    for (int i = 0; i < notes; ++i) builder.note("CORE", "x");
    return builder.build();
  };
  CHECK(errorOf(core(16)) == "none");
  CHECK(errorOf(core(17)) == "SOURCE_FORMAT");
}

TEST_CASE("image: a LiME dump's ranges are found by their addresses, the last one inclusive") {
  const TemporaryFile file(limeRange(0x1000, page('a') + page('b')) + limeRange(0x1'0000'0000, page('c')));
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->format() == "lime");
  CHECK(byteAt(**image, 0x1000) == 'a');
  CHECK(byteAt(**image, 0x2fff) == 'b');
  CHECK(byteAt(**image, 0x3000) == '-');
  CHECK(byteAt(**image, 0x1'0000'0fff) == 'c');
  CHECK((*image)->vcpus().empty());
}

TEST_CASE("image: a LiME dump cut short or with impossible headers is an error, never a smaller guest") {
  const std::string first = limeRange(0x1000, page('a'));
  const std::string whole = first + limeRange(0x1'0000'0000, page('b'));
  for (size_t size = 4; size < whole.size(); size += 97) {
    CAPTURE(size);
    CHECK(errorOf(whole.substr(0, size)) == "SOURCE_TRUNCATED");
  }
  CHECK(errorOf(limeRange(0x1000, page('a'), 2)) == "SOURCE_FORMAT");
  CHECK(errorOf(first + page('x')) == "SOURCE_FORMAT");
  std::string backwards = first;
  const uint64_t last = 0;
  std::memcpy(backwards.data() + 16, &last, sizeof last);
  CHECK(errorOf(backwards) == "SOURCE_FORMAT");
}

TEST_CASE("image: a memory map says where pieces lie, whatever the file begins with") {
  const TemporaryFile file("EMiL" + page('h').substr(4) + page('a') + page('b'));
  const std::vector<MemoryMapEntry> map = {{{0x5000}, kPageSize, 2 * kPageSize},
                                           {{0x1000}, kPageSize, kPageSize}};
  const auto image = Image::open(file.path(), map);
  REQUIRE(image.has_value());
  CHECK((*image)->format() == "raw");
  CHECK(byteAt(**image, 0x1000) == 'a');
  CHECK(byteAt(**image, 0x5000) == 'b');
  CHECK(byteAt(**image, 0) == '-');
  const std::vector<MemoryMapEntry> beyond = {{{0}, 2 * kPageSize, 2 * kPageSize}};
  CHECK(Image::open(file.path(), beyond).error().code == std::string("SOURCE_TRUNCATED"));
  const std::vector<MemoryMapEntry> wraps = {{{0}, ~uint64_t{0}, kPageSize}};
  CHECK(Image::open(file.path(), wraps).error().code == std::string("SOURCE_TRUNCATED"));
}

TEST_CASE("image: a file of whole pages without a header is raw RAM from address 0 on") {
  const TemporaryFile file(page('a') + page('b'));
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->format() == "raw");
  CHECK(byteAt(**image, 0x1000) == 'b');
  CHECK(byteAt(**image, 0x2000) == '-');
}

TEST_CASE("image: a scan passes over the holes of a sparse file") {
  const TemporaryFile file("");
  const int fd = open(file.path().c_str(), O_RDWR);
  REQUIRE(ftruncate(fd, 64 << 20) == 0);
  REQUIRE(pwrite(fd, "data", 4, 32 << 20) == 4);
  close(fd);
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  const MemoryRange run = (*image)->nextStored({0});
  CHECK(run.start.value == 32 << 20);
  CHECK(run.size < 1 << 20);
  CHECK((*image)->nextStored(run.start + run.size).size == 0);
}

TEST_CASE("image: what is not a memory image is refused with a code that says why") {
  CHECK(Image::open("/nonexistent/image").error().code == std::string("SOURCE_NOT_FOUND"));
  CHECK(Image::open("/tmp").error().code == std::string("SOURCE_FORMAT"));
  CHECK(errorOf("") == "SOURCE_FORMAT");
  CHECK(errorOf("hello") == "SOURCE_FORMAT");
  CHECK(errorOf("\x1f\x8b" + page('z')) == "SOURCE_FORMAT");
  CHECK(errorOf("KDUMP   " + page('z')) == "SOURCE_FORMAT");
  CHECK(errorOf("\x7f"
                "ELF") == "SOURCE_TRUNCATED");
}

TEST_CASE("image: a FIFO is refused, not waited for") {
  TemporaryFile file("");
  unlink(file.path().c_str());
  REQUIRE(mkfifo(file.path().c_str(), 0600) == 0);
  CHECK(Image::open(file.path()).error().code == std::string("SOURCE_FORMAT"));
}

TEST_CASE("image: what is wrong with a file is said with its path") {
  const TemporaryFile file(ElfBuilder().load(0, page('a')).build().substr(0, 100));
  CHECK(Image::open(file.path()).error().message.starts_with(file.path() + ": "));
}

TEST_CASE("image: a page of which the file stores a part is no page of the guest's memory") {
  const TemporaryFile file(ElfBuilder().load(0x1000, page('a') + page('b').substr(0, 100)).build());
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->view({0x2000}).size() == 100);
  CHECK(byteAt(**image, 0x2000 + 100) == '-');
}

TEST_CASE("image: an ELF file that is no x86_64 core is refused") {
  const auto broken = [](auto breakIt) {
    ElfBuilder elf;
    elf.load(0, page('a'));
    breakIt(elf);
    return errorOf(elf.build());
  };
  CHECK(broken([](ElfBuilder&) {}) == "none");
  CHECK(broken([](ElfBuilder& e) { e.header.e_ident[EI_CLASS] = ELFCLASS32; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.header.e_ident[EI_DATA] = ELFDATA2MSB; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.header.e_machine = EM_AARCH64; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.header.e_type = ET_EXEC; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.header.e_phentsize = 32; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.segments[0].header.p_type = PT_NULL; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.segments[0].header.p_memsz = 1; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.segments[0].header.p_memsz = ~uint64_t{0}; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.segments[0].header.p_paddr = ~uint64_t{0}; }) == "SOURCE_FORMAT");
  CHECK(broken([](ElfBuilder& e) { e.header.e_phoff = ~uint64_t{0} - 8; }) == "SOURCE_TRUNCATED");
  CHECK(broken([](ElfBuilder& e) { e.header.e_phnum = 2000; }) == "SOURCE_TRUNCATED");
  CHECK(broken([](ElfBuilder& e) {
          e.segments[0].header.p_filesz *= 2;
          e.segments[0].header.p_memsz *= 2;
        }) == "SOURCE_TRUNCATED");
}

TEST_CASE("image: a dump cut short anywhere is an error, never a smaller guest") {
  const std::string whole =
      ElfBuilder().note("VMCOREINFO", "OSRELEASE=6.1.0\n").load(0, page('a') + page('b')).build();
  for (size_t size = 0; size < whole.size(); size += 97) {
    CAPTURE(size);
    CHECK(errorOf(whole.substr(0, size)) != "none");
  }
}

TEST_CASE(
    "image: a file that shrinks while it is read gives zeros and an error, on any thread, and no SIGBUS") {
  const TemporaryFile file(page('a') + page('b') + page('c'));
  const auto image = Image::open(file.path());
  REQUIRE(image.has_value());
  CHECK((*image)->intact().has_value());
  REQUIRE(truncate(file.path().c_str(), kPageSize) == 0);
  char seen = '?';
  std::thread([&] { seen = byteAt(**image, 0x1000); }).join();
  CHECK(seen == '\0');
  CHECK(byteAt(**image, 0x2000) == '\0');
  CHECK(byteAt(**image, 0x0000) == 'a');
  REQUIRE(!(*image)->intact().has_value());
  CHECK((*image)->intact().error().code == std::string("SOURCE_TRUNCATED"));
}
