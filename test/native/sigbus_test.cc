#include "memory/sigbus_guard.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "doctest/doctest.h"
#include "memory/address.h"

using namespace xfilter;

namespace {

/// A mapping of two pages of a file that has only one: its second page raises SIGBUS.
class ShortMapping {
 public:
  explicit ShortMapping(size_t page = kPageSize, unsigned flags = 0)
      : file_(memfd_create("short", flags)), page_(page) {
    REQUIRE(file_ >= 0);
    REQUIRE(ftruncate(file_, static_cast<off_t>(page)) == 0);
    address_ = mmap(nullptr, 2 * page, PROT_READ, MAP_SHARED | MAP_NORESERVE, file_, 0);
    REQUIRE(address_ != MAP_FAILED);
  }
  ~ShortMapping() {
    munmap(address_, 2 * page_);
    close(file_);
  }
  ShortMapping(const ShortMapping&) = delete;
  ShortMapping& operator=(const ShortMapping&) = delete;

  int guard() const { return sigbus_guard::add({static_cast<const std::byte*>(address_), 2 * page_}, file_); }
  char second(size_t offset = 0) const { return static_cast<const volatile char*>(address_)[page_ + offset]; }

 private:
  int file_;
  size_t page_;
  void* address_ = nullptr;
};

/// The signal that ended a child that did this, or 0.
template <class Work>
int signalOf(Work work) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

TEST_CASE("sigbus: a SIGBUS that is not ours ends the process as it always would, sent or raised") {
  const ShortMapping ours;
  const int slot = ours.guard();
  REQUIRE(slot >= 0);
  CHECK(ours.second() == 0);
  CHECK(sigbus_guard::hit(slot));
  CHECK(signalOf([] { kill(getpid(), SIGBUS); }) == SIGBUS);
  CHECK(signalOf([] { static_cast<void>(ShortMapping().second()); }) == SIGBUS);
  sigbus_guard::remove(slot);
}

// No huge page is needed for it: where the host keeps none, the first page raises SIGBUS, too.
TEST_CASE("sigbus: in hugetlbfs, too, what lies behind the end reads as zeros") {
  constexpr size_t kHugePage = 2 << 20;
  const int probe = memfd_create("probe", MFD_HUGETLB | MFD_HUGE_2MB);
  if (probe < 0) {
    MESSAGE("this kernel has no hugetlbfs");
    return;
  }
  close(probe);
  const ShortMapping ours(kHugePage, MFD_HUGETLB | MFD_HUGE_2MB);
  const int slot = ours.guard();
  REQUIRE(slot >= 0);
  CHECK(ours.second(5 * kPageSize + 1) == 0);
  CHECK(ours.second() == 0);
  CHECK(ours.second(kHugePage - 1) == 0);
  CHECK(sigbus_guard::hit(slot));
  sigbus_guard::remove(slot);
}

TEST_CASE("sigbus: mappings that come and go never take away each other's") {
  std::atomic<bool> done = false;
  const auto work = [&] {
    while (!done) {
      const ShortMapping mapping;
      const int slot = mapping.guard();
      if (mapping.second() != 0 || !sigbus_guard::hit(slot)) abort();
      sigbus_guard::remove(slot);
    }
  };
  std::thread first(work), second(work);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  done = true;
  first.join();
  second.join();
}
