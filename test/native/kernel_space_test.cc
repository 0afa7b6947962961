#include "kernel/kernel_space.h"

#include "doctest/doctest.h"
#include "fake_memory.h"
#include "kernel/kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr uint64_t kLarge = uint64_t{2} << 20;
constexpr VirtualAddress kText{0xffff'ffff'8420'0000};
constexpr std::string_view kBanner = "Linux version 6.1.0-56-amd64 (builder) (gcc) #1 SMP\n\0";

/// A guest whose page tables map a kernel's image of two large pages, as a kernel's do.
class Guest : public FakeGuest {
 public:
  explicit Guest(int levels = 4) : FakeGuest(levels) {
    frame_ = allocate(kLarge);
    allocate(kLarge);
    for (uint64_t page = 0; page < 2; ++page) {
      mapPage(kText + page * kLarge, frame_ + page * kLarge, kLarge);
    }
    // As the kernel writes the entries of its tables: writable, accessed, dirty.
    memory().bytes(root() + 511 * 8)[0] |= std::byte{0x63};
  }

  void putBanner(uint64_t offset,
                 std::string_view banner = std::string_view(kBanner.data(), kBanner.size() + 1)) {
    write(kText + offset, bytesOf(banner));
  }
  PhysicalAddress frame() const { return frame_; }

  Result<std::vector<KernelSpace>> find() {
    Budget budget({}, std::chrono::minutes(1));
    return findKernelSpaces(memory(), budget);
  }

 private:
  PhysicalAddress frame_;
};

/// Puts the guest's root table and its init_uts_ns into its image, and returns the VMCOREINFO that says so.
std::string vmcoreinfoOf(Guest& guest) {
  const auto root = guest.memory().bytes(guest.root()).first(kPageSize);
  std::copy(root.begin(), root.end(), guest.memory().bytes(guest.frame() + kLarge).begin());
  guest.write(kText + 0x2000 + 130, bytesOf(std::string_view("6.1.0-56-amd64\0", 15)));
  return "OSRELEASE=6.1.0-56-amd64\nSYMBOL(swapper_pg_dir)=ffffffff84400000\n"
         "SYMBOL(_stext)=ffffffff84200000\nSYMBOL(init_uts_ns)=ffffffff84202000\nNUMBER(phys_base)=" +
         std::to_string(static_cast<int64_t>(guest.frame().value - 0x420'0000)) + "\n";
}

struct OtherKernel {
  PhysicalAddress root;
  VirtualAddress text{0xffff'ffff'8c00'0000};
};

/// Another kernel's tables and image, in the same memory.
OtherKernel addOtherKernel(Guest& guest) {
  const PhysicalAddress image = guest.allocate(kLarge);
  const PhysicalAddress root = guest.allocate(kPageSize), upper = guest.allocate(kPageSize),
                        lower = guest.allocate(kPageSize);
  const auto store = [&](PhysicalAddress at, uint64_t entry) {
    std::memcpy(guest.memory().bytes(at).data(), &entry, sizeof entry);
  };
  store(root + 511 * 8, upper.value | 0x63);
  store(upper + 510 * 8, lower.value | 0x63);
  store(lower + 0x60 * 8, image.value | 0xe3);
  std::memcpy(guest.memory().bytes(image + 64).data(), kBanner.data(), kBanner.size() + 1);
  return {root};
}

VcpuRegisters vcpu(uint64_t cr3, int levels = 4) {
  return {.cr3 = cr3, .cr4 = levels == 5 ? uint64_t{1} << 12 : 0};
}

}  // namespace

TEST_CASE("kernel space: a vCPU's CR3 leads to the kernel, whichever half of the pair it names") {
  for (const int levels : {4, 5}) {
    CAPTURE(levels);
    Guest guest(levels);
    guest.putBanner(0x1000);
    const uint64_t root = guest.root().value;
    for (const uint64_t cr3 : {root, root | 0x5, root | 0x1803}) {
      CAPTURE(cr3);
      guest.memory().registers = {vcpu(cr3, levels)};
      const auto found = guest.find();
      REQUIRE(found.has_value());
      REQUIRE(found->size() == 1);
      const KernelSpace& kernel = found->front();
      CHECK(kernel.how.starts_with("a vCPU's registers"));
      CHECK(kernel.space.root() == guest.root());
      CHECK(kernel.space.levels() == levels);
      CHECK(kernel.imageStart == kText);
      CHECK(kernel.kaslrOffset == 0x320'0000);
      CHECK(kernel.physBase == static_cast<int64_t>(guest.frame().value - 0x420'0000));
      REQUIRE(kernel.known.size() == 1);
      CHECK(kernel.known[0].name == "linux_banner");
      CHECK(kernel.known[0].address == kText + 0x1000);
    }
  }
}

TEST_CASE("kernel space: without registers, page tables are found by a scan") {
  for (const int levels : {4, 5}) {
    CAPTURE(levels);
    Guest guest(levels);
    guest.putBanner(kLarge + 0x20);
    const auto found = guest.find();
    REQUIRE(found.has_value());
    const auto right = std::find_if(found->begin(), found->end(), [&](const KernelSpace& kernel) {
      return kernel.space.root() == guest.root() && kernel.space.levels() == levels;
    });
    REQUIRE(right != found->end());
    CHECK(right->how.starts_with("a scan of memory; a root page table"));
    CHECK(right->known.front().address == kText + kLarge + 0x20);
  }
}

TEST_CASE("kernel space: a banner counts only whole, and each that may be it is kept") {
  Guest guest;
  guest.memory().registers = {vcpu(guest.root().value)};
  guest.putBanner(0x100, "Linux version 6.1.0-56-amd64 (builder) and no end");
  CHECK_FALSE(guest.find().has_value());
  guest.putBanner(0x200, std::string_view("Linux version \x01\x02 (builder)\n\0", 28));
  CHECK_FALSE(guest.find().has_value());
  guest.putBanner(0x300);
  guest.putBanner(0x400);
  CHECK(guest.find()->front().known.size() == 2);
}

TEST_CASE("kernel space: a banner that lies across two pieces of host memory is found, once") {
  constexpr PhysicalAddress kFrame{0x4000'0000};
  for (const int64_t offset : {-40, -600, 0}) {
    CAPTURE(offset);
    FakeGuest guest;
    for (uint64_t page = 0; page < 2; ++page) {
      guest.memory().add(kFrame + page * kLarge, kLarge);
      guest.mapPage(kText + page * kLarge, kFrame + page * kLarge, kLarge);
    }
    const VirtualAddress banner = kText + kLarge + static_cast<uint64_t>(offset);
    guest.write(banner, bytesOf(std::string_view(kBanner.data(), kBanner.size() + 1)));
    guest.memory().registers = {vcpu(guest.root().value)};
    Budget budget({}, std::chrono::minutes(1));
    const auto found = findKernelSpaces(guest.memory(), budget);
    REQUIRE(found.has_value());
    REQUIRE(found->front().known.size() == 1);
    CHECK(found->front().known.front().address == banner);
  }
}

TEST_CASE("kernel space: registers that lead nowhere cost nothing but themselves") {
  Guest guest;
  guest.putBanner(0x1000);
  guest.memory().registers = {vcpu(0), vcpu(~uint64_t{0}), vcpu(guest.frame().value), VcpuRegisters{}};
  const auto found = guest.find();
  REQUIRE(found.has_value());
  CHECK(found->front().how.starts_with("a scan"));
}

TEST_CASE("kernel space: the kernel that runs is taken, not the one that a stale note names") {
  Guest stale;
  stale.putBanner(0x1000);
  const std::string note = vmcoreinfoOf(stale);
  stale.memory().note = note;
  REQUIRE(stale.find().has_value());
  CHECK(stale.find()->front().info.has_value());
  stale.memory().registers = {vcpu(stale.root().value)};
  CHECK(stale.find()->front().how == "the image's VMCOREINFO note");

  const OtherKernel running = addOtherKernel(stale);
  stale.memory().registers = {vcpu(running.root.value)};
  const auto found = stale.find();
  REQUIRE(found.has_value());
  CHECK(found->front().space.root() == running.root);
  CHECK(found->front().imageStart == running.text);
}

TEST_CASE("kernel space: the kernel that low memory leads to is taken, not one that a user made up") {
  Guest guest;
  guest.putBanner(0x1000);
  const std::string text = vmcoreinfoOf(guest);
  const PhysicalAddress page = guest.allocate(kPageSize);
  std::memcpy(guest.memory().bytes(page).data(), text.data(), text.size());
  REQUIRE(guest.find().has_value());
  CHECK(guest.find()->front().how.starts_with("a scan of memory; VMCOREINFO"));

  const OtherKernel real = addOtherKernel(guest);
  const auto low = guest.memory().add({0x9c000}, kPageSize);
  const auto entry = guest.memory().bytes(real.root + 511 * 8).first(8);
  std::copy(entry.begin(), entry.end(), low.begin() + 511 * 8);
  const auto found = guest.find();
  REQUIRE(found.has_value());
  REQUIRE(found->size() == 1);
  CHECK(found->front().how.starts_with("the root page table that its CPUs start with"));
  CHECK(found->front().imageStart == real.text);
}

TEST_CASE("kernel space: a VMCOREINFO that names what lies outside of a kernel's image is none") {
  Guest guest;
  const std::string text = vmcoreinfoOf(guest);
  const auto proven = [&](const std::string& changed) {
    return proveKernelSpace(guest.memory(), *Vmcoreinfo::parse(changed), "").has_value();
  };
  CHECK(proven(text));
  // The same pages by another address, as the direct map has them.
  guest.mapPage({0xffff'8880'0420'0000}, guest.frame(), kLarge);
  vmcoreinfoOf(guest);
  std::string elsewhere = text;
  elsewhere.replace(elsewhere.find("ffffffff84200000"), 16, "ffff888004200000");
  CHECK_FALSE(proven(elsewhere));
}

TEST_CASE("kernel space: of many that were made up only a few are looked at") {
  Guest guest;
  const std::string text = vmcoreinfoOf(guest);
  const PhysicalAddress table = guest.frame() + kLarge;
  for (uint64_t i = 1; i < 100; ++i) {
    // The root table and the text once more, behind the first ones.
    const auto root = guest.memory().bytes(table).first(kPageSize);
    std::copy(root.begin(), root.end(), guest.memory().bytes(table + i * kPageSize).begin());
    std::string other = text;
    char name[17];
    std::snprintf(name, sizeof name, "%016llx", 0xffff'ffff'8440'0000ULL + i * kPageSize);
    other.replace(other.find("ffffffff84400000"), 16, name);
    const PhysicalAddress page = guest.allocate(kPageSize);
    std::memcpy(guest.memory().bytes(page).data(), other.data(), other.size());
  }
  const auto found = guest.find();
  REQUIRE(found.has_value());
  CHECK(found->size() == 8);
}

TEST_CASE("kernel space: a search that is aborted finds nothing, by whichever way") {
  Guest guest;
  guest.putBanner(0x1000);
  std::stop_source stop;
  stop.request_stop();
  for (const bool registers : {false, true}) {
    Budget budget(stop.get_token(), std::chrono::minutes(1));
    if (registers) guest.memory().registers = {vcpu(guest.root().value)};
    CHECK_FALSE(findKernelSpaces(guest.memory(), budget).has_value());
    CHECK(budget.aborted());
  }
}

TEST_CASE("kernel space: memory without a kernel says what was looked for") {
  FakeGuest guest;
  guest.allocate(kLarge);
  Budget budget({}, std::chrono::minutes(1));
  const auto found = findKernelSpaces(guest.memory(), budget);
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().code == std::string("KERNEL_NOT_FOUND"));
}

TEST_CASE("kernel space: an error about a kernel's symbols or types says of which kernel") {
  Guest guest;
  guest.putBanner(0x1000);
  guest.memory().registers = {vcpu(guest.root().value)};
  Budget budget({}, std::chrono::minutes(1));
  const auto kernel = findKernel(guest.memory(), {}, budget);
  REQUIRE_FALSE(kernel.has_value());
  CHECK(kernel.error().code == std::string("SYMBOLS_NOT_FOUND"));
  CHECK(kernel.error().message.ends_with(" The guest's kernel is 6.1.0-56-amd64."));
}

TEST_CASE("kernel space: an image whose pages lie scattered is found by its page tables alone") {
  FakeGuest guest;
  const uint64_t pages = 8;
  const PhysicalAddress frames = guest.allocate(pages * kPageSize);
  for (uint64_t i = 0; i < pages; ++i)
    guest.mapPage(kText + i * kPageSize, frames + (pages - 1 - i) * kPageSize);
  // Across two pages that are neighbours only in the kernel's own space.
  const VirtualAddress banner = kText + 3 * kPageSize - 20;
  guest.write(banner, bytesOf(std::string_view(kBanner.data(), kBanner.size() + 1)));
  guest.memory().registers = {{.cr3 = guest.root().value}};
  const auto find = [&] {
    Budget budget({}, std::chrono::minutes(1));
    return findKernelSpaces(guest.memory(), budget);
  };
  CHECK_FALSE(find().has_value());  // no kernel's image lies so where addresses are the guest's own

  guest.memory().isScattered = true;
  const auto found = find();
  REQUIRE(found.has_value());
  const KernelSpace& kernel = found->front();
  CHECK(kernel.imageStart == kText);
  CHECK(kernel.physBase == 0);
  REQUIRE(kernel.known.size() == 1);
  CHECK(kernel.known[0].address == banner);

  // The kernel's own root table is where page tables say that it is.
  const VirtualAddress own = kText + 6 * kPageSize;
  CHECK_FALSE(spaceOfKernel(kernel, own).has_value());  // nothing is in that page
  const auto root = guest.memory().bytes(guest.root()).first(kPageSize);
  std::copy(root.begin(), root.end(), guest.at(own).begin());
  const auto space = spaceOfKernel(kernel, own);
  REQUIRE(space.has_value());
  CHECK(space->root() == frames + kPageSize);
}

TEST_CASE(
    "kernel space: where frame numbers are the machine's, nothing is believed that counts by the guest's "
    "own") {
  Guest guest;
  guest.putBanner(0x1000);
  const std::string text = vmcoreinfoOf(guest);
  const PhysicalAddress page = guest.allocate(kPageSize);
  std::memcpy(guest.memory().bytes(page).data(), text.data(), text.size());
  const auto low = guest.memory().add({0x9c000}, kPageSize);
  const auto entry = guest.memory().bytes(guest.root() + 511 * 8).first(8);
  std::copy(entry.begin(), entry.end(), low.begin() + 511 * 8);
  guest.memory().note = text;
  guest.memory().isScattered = true;
  const auto found = guest.find();
  REQUIRE(found.has_value());
  for (const KernelSpace& kernel : *found)
    CHECK(kernel.how.starts_with("a scan of memory; a root page table"));
}
