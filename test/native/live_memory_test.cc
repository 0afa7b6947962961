#include "memory/live_memory.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>

#include "kernel/attach_live.h"
#include "memory/page_copies.h"
#include "paging/kernel_memory.h"

using namespace xfilter;

namespace {

constexpr uint64_t kPages = 2048;  // of the other process's memory: 8 MiB
constexpr uint64_t kSize = kPages * kPageSize;

/// A process with memory at the same address as here, which it may change when it is told to.
class Other {
 public:
  explicit Other(std::byte* memory, const std::function<void(std::byte*)>& change = {}) {
    std::array<int, 2> toChild{}, toParent{};
    REQUIRE(pipe(toChild.data()) == 0);
    REQUIRE(pipe(toParent.data()) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      char byte = 0;
      while (::read(toChild[0], &byte, 1) == 1) {
        if (change) change(memory);
        if (::write(toParent[1], &byte, 1) != 1) break;
      }
      _exit(0);
    }
    ::close(toChild[0]);
    ::close(toParent[1]);
    to_ = toChild[1];
    from_ = toParent[0];
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;
  ~Other() {
    end();
    ::close(to_);
    ::close(from_);
  }

  int pid() const { return pid_; }
  void change() {
    char byte = 1;
    REQUIRE(::write(to_, &byte, 1) == 1);
    REQUIRE(::read(from_, &byte, 1) == 1);
  }
  void end() {
    if (ended_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    ended_ = true;
  }

 private:
  int pid_ = 0, to_ = -1, from_ = -1;
  bool ended_ = false;
};

/// Memory of which pages 1, 3 and 600 say their number, and all else was never touched.
struct Memory {
  explicit Memory(bool shared) {
    if (shared) file = memfd_create("guest", MFD_CLOEXEC);
    if (shared) REQUIRE(ftruncate(file, kSize) == 0);
    void* const at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                          (shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) | MAP_NORESERVE, file, 0);
    REQUIRE(at != MAP_FAILED);
    bytes = static_cast<std::byte*>(at);
    madvise(at, kSize, MADV_NOHUGEPAGE);
    for (const uint64_t page : {1, 3, 600}) std::memcpy(bytes + page * kPageSize, &page, sizeof page);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    munmap(bytes, kSize);
    if (file >= 0) ::close(file);
  }

  /// Pages that the file has.
  uint64_t filePages() const {
    struct stat status = {};
    REQUIRE(fstat(file, &status) == 0);
    return static_cast<uint64_t>(status.st_blocks) * 512 / kPageSize;
  }

  std::byte* bytes = nullptr;
  int file = -1;
};

constexpr PhysicalAddress kStart{0x100000};

Result<std::unique_ptr<LiveMemory>> openLive(int pid, const Memory& memory) {
  auto process = HostProcess::open(pid);
  REQUIRE(process);
  return LiveMemory::open(std::move(*process), {{kStart, kSize, reinterpret_cast<uint64_t>(memory.bytes)}});
}

uint64_t numberAt(const PhysicalMemory& memory, uint64_t page) {
  const auto bytes = memory.view(kStart + page * kPageSize);
  REQUIRE(bytes.size() >= kPageSize);
  uint64_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

/// How many of the memory's pages the process has.
uint64_t residentPages(int pid, const Memory& memory) {
  const auto process = HostProcess::open(pid);
  REQUIRE(process);
  std::array<uint64_t, kPages / 64> words{};
  (*process)->residentPages(reinterpret_cast<uint64_t>(memory.bytes), words);
  uint64_t pages = 0;
  for (const uint64_t word : words) pages += static_cast<uint64_t>(std::popcount(word));
  return pages;
}

}  // namespace

TEST_CASE("live memory: shared memory is mapped and read as it changes; what it lacks reads as zeros") {
  const Memory memory(true);
  Other other(memory.bytes, [](std::byte* bytes) { bytes[kPageSize] = std::byte{77}; });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  CHECK((*live)->live());
  CHECK_FALSE((*live)->fetches());
  CHECK((*live)->epoch(kNoPass) == nullptr);
  CHECK(numberAt(**live, 3) == 3);
  CHECK(numberAt(**live, 2) == 0);
  CHECK(numberAt(**live, 1) == 1);
  other.change();
  CHECK(numberAt(**live, 1) == 77);
  CHECK((*live)->view({kStart.value - 1}).empty());
  CHECK((*live)->view(kStart + kSize).empty());
  CHECK((*live)->intact());
}

TEST_CASE("live memory: no page comes into being by reading or scanning, shared or private") {
  for (const bool shared : {true, false}) {
    CAPTURE(shared);
    const Memory memory(shared);
    Other other(memory.bytes);
    const auto live = openLive(other.pid(), memory);
    REQUIRE(live);
    const auto epoch = (*live)->epoch(kNoPass);
    const PhysicalMemory& source = epoch ? *epoch : static_cast<const PhysicalMemory&>(**live);
    if (shared) CHECK(memory.filePages() == 3);
    const uint64_t before = residentPages(other.pid(), memory);
    for (uint64_t page = 0; page < kPages; ++page) {
      const auto bytes = source.view(kStart + page * kPageSize);
      REQUIRE(bytes.size() >= kPageSize);
      volatile std::byte touched = bytes[kPageSize - 1];
      (void)touched;
      source.refresh(kStart + page * kPageSize);
    }
    std::vector<uint64_t> stored;
    for (MemoryRange run = source.nextStored({0}); run.size > 0;
         run = source.nextStored(run.start + run.size)) {
      for (uint64_t at = 0; at < run.size; at += kPageSize)
        stored.push_back((run.start.value + at - kStart.value) / kPageSize);
      source.release(run);
    }
    CHECK(stored == std::vector<uint64_t>{1, 3, 600});
    if (shared) CHECK(memory.filePages() == 3);
    CHECK(residentPages(other.pid(), memory) == before);
  }
}

TEST_CASE("live memory: a page that only the file has, and the process never touched, is there") {
  const Memory memory(true);
  Other other(memory.bytes);
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const uint64_t number = 900;
  REQUIRE(pwrite(memory.file, &number, sizeof number, static_cast<off_t>(900 * kPageSize)) == sizeof number);
  CHECK(numberAt(**live, 900) == 900);
  CHECK((*live)->nextStored(kStart + 601 * kPageSize).start == kStart + 900 * kPageSize);
}

TEST_CASE(
    "live memory: a page that the guest begins to use is there at once, whether it was looked for before or "
    "not") {
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) { std::memset(bytes + 4 * kPageSize, 44, 2 * kPageSize); });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const auto first = (*live)->epoch(kNoPass);
  CHECK(numberAt(*first, 4) == 0);
  other.change();
  CHECK(numberAt(*first, 4) == 0);
  const auto second = (*live)->epoch(kNoPass);
  for (const uint64_t page : {4, 5}) CHECK(numberAt(*second, page) == 0x2c2c2c2c2c2c2c2c);
}

TEST_CASE("live memory: an epoch keeps what it read, a later one and a refresh read anew") {
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) { bytes[3 * kPageSize] = std::byte{33}; });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  CHECK((*live)->fetches());
  CHECK((*live)->view(kStart).empty());
  const auto first = (*live)->epoch(kNoPass);
  CHECK(numberAt(*first, 3) == 3);
  other.change();
  CHECK(numberAt(*first, 3) == 3);
  const auto second = (*live)->epoch(kNoPass);
  CHECK(numberAt(*second, 3) == 33);
  first->refresh(kStart + 3 * kPageSize);
  CHECK(numberAt(*first, 3) == 33);
  CHECK(numberAt(*first, 600) == 600);
}

TEST_CASE("live memory: what an epoch of the same pass read comes with the first page that is missing") {
  constexpr size_t kPass = 7;
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) {
    for (const uint64_t page : {1, 3, 600}) bytes[page * kPageSize] = std::byte{77};
  });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  {
    const auto last = (*live)->epoch(kPass);
    for (const uint64_t page : {1, 3}) CHECK(numberAt(*last, page) == page);
  }
  const auto now = (*live)->epoch(kPass);
  CHECK(numberAt(*now, 1) == 1);
  other.change();
  CHECK(numberAt(*now, 3) == 3);
  CHECK(numberAt(*now, 600) != 600);
}

TEST_CASE("live memory: an epoch that was used before starts from nothing") {
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) { madvise(bytes, kSize, MADV_DONTNEED); });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  CHECK(numberAt(*(*live)->epoch(kNoPass), 600) == 600);
  other.change();
  // What the host took away is believed to be there for a second, and read then, as zeros.
  CHECK(numberAt(*(*live)->epoch(kNoPass), 600) == 0);
}

TEST_CASE("live memory: what was asked for comes with the first that is missing, thousands of pages too") {
  const Memory memory(false);
  for (uint64_t page = 0; page < kPages; ++page)
    std::memcpy(memory.bytes + page * kPageSize, &page, sizeof page);
  Other other(memory.bytes, [](std::byte* bytes) { std::memset(bytes, 0xff, kSize); });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const auto epoch = (*live)->epoch(kNoPass);
  for (uint64_t page = 0; page < kPages; page += 2) epoch->want(kStart + page * kPageSize + 8);
  CHECK(numberAt(*epoch, 0) == 0);
  other.change();
  for (uint64_t page = 2; page < kPages; page += 2) REQUIRE(numberAt(*epoch, page) == page);
  CHECK(numberAt(*epoch, 1) == ~uint64_t{0});
  CHECK(epoch->intact());
}

TEST_CASE("live memory: a page that goes away in the process costs itself") {
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) { munmap(bytes + 3 * kPageSize, kPageSize); });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const auto epoch = (*live)->epoch(kNoPass);
  CHECK(numberAt(*epoch, 1) == 1);
  other.change();
  for (const uint64_t page : {3, 600}) epoch->want(kStart + page * kPageSize);
  CHECK(epoch->view(kStart + 3 * kPageSize).empty());
  CHECK(numberAt(*epoch, 600) == 600);
  const auto scan = (*live)->scan();
  CHECK(numberAt(*scan, 600) == 600);
}

TEST_CASE("live memory: a page that cannot be copied is counted once, however often it is asked for") {
  constexpr int kTimes = 200'000;  // as pages, more than an epoch may hold
  const Memory memory(false);
  Other other(memory.bytes, [](std::byte* bytes) { munmap(bytes + 3 * kPageSize, kPageSize); });
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const auto epoch = (*live)->epoch(kNoPass);
  CHECK(numberAt(*epoch, 1) == 1);
  other.change();
  for (int i = 0; i < kTimes; ++i) REQUIRE(epoch->view(kStart + 3 * kPageSize).empty());
  CHECK(numberAt(*epoch, 600) == 600);
  CHECK(epoch->intact());
}

TEST_CASE("live memory: a scan's pages are contiguous over 2 MiB and let go of when they are released") {
  const Memory memory(false);
  Other other(memory.bytes);
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  const auto scan = (*live)->scan();
  const PhysicalAddress page{kStart.value + 600 * kPageSize};
  CHECK(scan->view(page).size() >= (uint64_t{2} << 20));
  CHECK(numberAt(*scan, 600) == 600);
  scan->release({kStart, kSize});
  CHECK(numberAt(*scan, 600) == 600);
}

TEST_CASE("live memory: a process that ended is an error, and one that gets its number is not taken for it") {
  const Memory memory(true);
  Other other(memory.bytes);
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  auto process = HostProcess::open(other.pid());
  REQUIRE(process);
  other.end();
  REQUIRE_FALSE((*live)->intact());
  CHECK(std::string((*live)->intact().error().code) == "SOURCE_GONE");
  CHECK_FALSE((*process)->alive());
  REQUIRE_FALSE((*process)->mappings());
  CHECK(std::string((*process)->mappings().error().code) == "SOURCE_GONE");
  CHECK(std::string(HostProcess::open(other.pid()).error().code) == "SOURCE_NOT_FOUND");
  // Where this test may choose the next process id, another process gets the number.
  std::ofstream("/proc/sys/kernel/ns_last_pid") << other.pid() - 1;
  const Other another(memory.bytes);
  if (another.pid() != other.pid()) return;
  CHECK_FALSE((*process)->alive());
  CHECK_FALSE((*process)->mappings());
  CHECK_FALSE((*live)->intact());
}

TEST_CASE("live memory: a memory file that is cut off is an error, not a signal") {
  const Memory memory(true);
  Other other(memory.bytes);
  const auto live = openLive(other.pid(), memory);
  REQUIRE(live);
  CHECK(numberAt(**live, 600) == 600);
  REQUIRE(ftruncate(memory.file, 2 * kPageSize) == 0);
  // Believed to be there for a second: the read faults, and finds zeros.
  CHECK(numberAt(**live, 600) == 0);
  REQUIRE_FALSE((*live)->intact());
  CHECK(std::string((*live)->intact().error().code) == "SOURCE_TRUNCATED");
  const auto again = openLive(other.pid(), memory);
  REQUIRE_FALSE(again);
  CHECK(std::string(again.error().code) == "SOURCE_TRUNCATED");
}

TEST_CASE("live memory: a process without memory where the guest's should be is not the guest's") {
  const Memory memory(true);
  Other other(memory.bytes);
  auto process = HostProcess::open(other.pid());
  REQUIRE(process);
  const auto live = LiveMemory::open(std::move(*process), {{kStart, kSize, 0x1000}});
  REQUIRE_FALSE(live);
  CHECK(std::string(live.error().code) == "PROCESS_UNKNOWN");
}

TEST_CASE("live memory: without a kernel in its mappings, a process runs no guest") {
  const Memory memory(true);
  Other other(memory.bytes);
  Budget budget({}, std::chrono::seconds(60));
  const auto guest = attachLive({.pid = other.pid(), .regions = {}}, {}, budget);
  REQUIRE_FALSE(guest);
  CHECK(std::string(guest.error().code) == "KERNEL_NOT_FOUND");
}

TEST_CASE("process maps: lines with and without a file, and broken ones") {
  const auto maps = parseProcessMaps(
      "7f1459fff000-7f145ffff000 rw-s 00010000 00:01 2057                       /memfd:a b (deleted)\n"
      "7f4371e00000-7f4377e00000 rw-p 00000000 00:00 0 \n"
      "7f0000000000-7f0000001000 ---p 00000000 00:00 0\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
      "nonsense\n\n7f-7e rw-p 0 0:0 0 \n7f1459fff000-");
  REQUIRE(maps.size() >= 3);
  CHECK(maps[0].start == 0x7f1459fff000);
  CHECK(maps[0].size() == 0x6000000);
  CHECK(maps[0].shared);
  CHECK(maps[0].fileOffset == 0x10000);
  CHECK(maps[0].inode == 2057);
  CHECK(maps[0].path == "/memfd:a b (deleted)");
  CHECK_FALSE(maps[1].shared);
  CHECK(maps[1].inode == 0);
  CHECK(maps[1].path.empty());
  CHECK(maps.back().executable);
  CHECK(maps.back().path == "[vsyscall]");
}
