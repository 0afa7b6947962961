#include "memory/sigbus_guard.h"

#include <fcntl.h>
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
  ShortMapping() {
    const int fd = memfd_create("short", 0);
    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, kPageSize) == 0);
    address_ = mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd, 0);
    REQUIRE(address_ != MAP_FAILED);
    close(fd);
  }
  ~ShortMapping() { munmap(address_, kSize); }
  ShortMapping(const ShortMapping&) = delete;
  ShortMapping& operator=(const ShortMapping&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), kSize}; }
  char second() const { return static_cast<const volatile char*>(address_)[kPageSize]; }

 private:
  static constexpr size_t kSize = 2 * kPageSize;
  void* address_;
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
  const int slot = sigbus_guard::add(ours.bytes());
  REQUIRE(slot >= 0);
  CHECK(ours.second() == 0);
  CHECK(sigbus_guard::hit(slot));
  CHECK(signalOf([] { kill(getpid(), SIGBUS); }) == SIGBUS);
  CHECK(signalOf([] { static_cast<void>(ShortMapping().second()); }) == SIGBUS);
  sigbus_guard::remove(slot);
}

TEST_CASE("sigbus: mappings that come and go never take away each other's") {
  std::atomic<bool> done = false;
  const auto work = [&] {
    while (!done) {
      const ShortMapping mapping;
      const int slot = sigbus_guard::add(mapping.bytes());
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
