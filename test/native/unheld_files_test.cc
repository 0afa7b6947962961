#include "walk/unheld_files.h"

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kObjects{0xffff'8883'0000'0000};

/// The files of an io_uring instance, as 5.15 to 6.12 keep them: a table of pointers with flags in them.
class Ring : public FakeKernel {
 public:
  Ring() { guest.reserve(kObjects, 2 * kPageSize); }

  /// Files of instances whose `files` is a table of `count` entries.
  VirtualAddress addRing(uint64_t count, VirtualAddress table = kTable) {
    const VirtualAddress file = kObjects + used_, context = file + 64;
    used_ += 128;
    guest.write(file + 8, context);  // private_data
    guest.write(context, table);
    guest.write(context + 8, count);
    return file;
  }
  void setFile(uint64_t i, VirtualAddress file) { guest.write(kTable + i * 8, file.value | 1); }

  struct Result {
    UnownedReason reason;
    Quality quality;
  };
  Result reasonOf(VirtualAddress file, const std::vector<VirtualAddress>& rings) {
    Kernel found = kernel();
    found.layout.ioUring.files = Field{.offset = 0, .size = 8};
    found.layout.ioUring.nr_user_files = Field{.offset = 8, .size = 8};
    WalkContext walk{found, KernelMemory(found.space), Budget({}, std::chrono::minutes(1))};
    UnheldFiles files(walk, {}, rings);
    const UnownedReason reason = files.reasonOf(file);
    return {reason, walk.quality};
  }

  static constexpr VirtualAddress kTable = kObjects + kPageSize;

 private:
  uint64_t used_ = 0;
};

constexpr VirtualAddress kFile{0xffff'8884'0000'0100};

}  // namespace

TEST_CASE("unheld files: a registered file of an io_uring instance is told, and another is not") {
  Ring kernel;
  const auto ring = kernel.addRing(4);
  kernel.setFile(3, kFile);
  CHECK(kernel.reasonOf(kFile, {ring}).reason == UnownedReason::kIoUring);
  CHECK(kernel.reasonOf(kFile + 256, {ring}).reason == UnownedReason::kUnknown);
}

TEST_CASE("unheld files: an instance that many threads have registered is looked through once") {
  Ring kernel;
  const auto ring = kernel.addRing(4, {0xffff'c900'dead'b000});
  const auto result = kernel.reasonOf(kFile, std::vector<VirtualAddress>(1000, ring));
  CHECK(result.quality.badPointers == 1);
}

TEST_CASE("unheld files: an instance that claims more files than it may have is not looked through") {
  Ring kernel;
  const auto result = kernel.reasonOf(kFile, {kernel.addRing(~uint64_t{0})});
  CHECK(result.reason == UnownedReason::kUnknown);
  CHECK(result.quality.limited == 1);
}
