#include "kernel/kernel_space.h"

#include "doctest/doctest.h"
#include "fake_memory.h"

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

  Result<std::vector<KernelSpace>> find() { return findKernelSpaces(memory(), {}); }

 private:
  PhysicalAddress frame_;
};

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
  // Its root table and its init_uts_ns lie in its image, as VMCOREINFO says.
  const VirtualAddress swapper = kText + kLarge;
  const VirtualAddress utsName = kText + 0x2000;
  const uint64_t table = stale.frame().value + kLarge;
  const auto root = stale.memory().bytes(stale.root()).first(kPageSize);
  std::copy(root.begin(), root.end(), stale.memory().bytes({table}).begin());
  stale.write(utsName + 130, bytesOf(std::string_view("6.1.0-56-amd64\0", 15)));
  const std::string note =
      "OSRELEASE=6.1.0-56-amd64\nSYMBOL(swapper_pg_dir)=ffffffff84400000\n"
      "SYMBOL(_stext)=ffffffff84200000\nSYMBOL(init_uts_ns)=ffffffff84202000\nNUMBER(phys_base)=" +
      std::to_string(static_cast<int64_t>(stale.frame().value - 0x420'0000)) + "\n";
  CHECK(swapper.value == 0xffff'ffff'8440'0000);
  stale.memory().note = note;
  REQUIRE(stale.find().has_value());
  CHECK(stale.find()->front().info.has_value());
  stale.memory().registers = {vcpu(stale.root().value)};
  CHECK(stale.find()->front().how == "the image's VMCOREINFO note");

  // Another kernel's tables and image, in the same memory.
  const PhysicalAddress image = stale.allocate(kLarge);
  const PhysicalAddress newRoot = stale.allocate(kPageSize), upper = stale.allocate(kPageSize),
                        lower = stale.allocate(kPageSize);
  const auto store = [&](PhysicalAddress at, uint64_t entry) {
    std::memcpy(stale.memory().bytes(at).data(), &entry, sizeof entry);
  };
  store(newRoot + 511 * 8, upper.value | 0x63);
  store(upper + 510 * 8, lower.value | 0x63);
  store(lower + 0x60 * 8, image.value | 0xe3);
  std::memcpy(stale.memory().bytes(image + 64).data(), kBanner.data(), kBanner.size() + 1);
  stale.memory().registers = {vcpu(newRoot.value)};
  const auto found = stale.find();
  REQUIRE(found.has_value());
  CHECK(found->front().space.root() == newRoot);
  CHECK(found->front().imageStart.value == 0xffff'ffff'8c00'0000);
}

TEST_CASE("kernel space: memory without a kernel says what was looked for") {
  FakeGuest guest;
  guest.allocate(kLarge);
  const auto found = findKernelSpaces(guest.memory(), {});
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().code == std::string("KERNEL_NOT_FOUND"));
}
