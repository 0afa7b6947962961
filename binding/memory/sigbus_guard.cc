#include "memory/sigbus_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "memory/address.h"
#include "memory/huge_pages.h"

// Why a handler that maps zero pages, and not one that jumps out of the read: a jump would skip the
// destructors of every frame between, and a read may happen on any thread. With zeros in place the reader
// goes on, finds nothing believable, and the source reports the failure when the walk is over.
namespace xfilter::sigbus_guard {
namespace {

/// Read by the handler while other threads reuse it: `sequence` is odd meanwhile, and another one afterwards.
struct Slot {
  std::atomic<uint64_t> sequence{0};
  std::atomic<uintptr_t> begin{0};  // 0: free
  std::atomic<uintptr_t> end{0};
  std::atomic<uintptr_t> pageSize{kPageSize};
  std::atomic<bool> hit{false};

  void set(uintptr_t newBegin, uintptr_t newEnd, uintptr_t newPageSize) {
    const uint64_t before = sequence.load(std::memory_order_relaxed);
    sequence.store(before + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    hit.store(false, std::memory_order_relaxed);
    begin.store(newBegin, std::memory_order_relaxed);
    end.store(newEnd, std::memory_order_relaxed);
    pageSize.store(newPageSize, std::memory_order_relaxed);
    sequence.store(before + 2, std::memory_order_release);
  }

  struct Pages {
    uintptr_t begin = 0, end = 0;
  };

  /// Whole pages of the mapping, from that of `address` to the last; none if it does not hold that. The
  /// mapping of a read that faults stays until the read is over, so a slot that changes is another's.
  Pages pagesFrom(uintptr_t address) const {
    const uint64_t before = sequence.load(std::memory_order_acquire);
    const uintptr_t first = begin.load(std::memory_order_relaxed);
    const uintptr_t last = end.load(std::memory_order_relaxed);
    const uintptr_t page = pageSize.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (before % 2 != 0 || sequence.load(std::memory_order_relaxed) != before) return {};
    if (first == 0 || address < first || address >= last) return {};
    return {address & ~(page - 1), (last + page - 1) & ~(page - 1)};
  }
};

constexpr size_t kSlots = 256;
std::array<Slot, kSlots> slots;  // read by the signal handler: atomics only, never reallocated
std::mutex slotsMutex;           // for add and remove
struct sigaction previous;

void callPrevious(int signal, siginfo_t* info, void* context) {
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else if (previous.sa_handler == SIG_DFL || info->si_code > 0) {
    // Not ours, and nobody else's: the default action takes over when the faulting read runs again, and
    // when this handler returns if the signal was sent. (A fault cannot be ignored.)
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(signal, &standard, nullptr);
    if (info->si_code <= 0) raise(signal);
  }
}

void onSigbus(int signal, siginfo_t* info, void* context) {
  const int savedErrno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    // Positive: a fault. What kill() sends has no address.
    const Slot::Pages pages = info->si_code > 0 ? slot.pagesFrom(address) : Slot::Pages{};
    if (pages.end == 0) continue;
    // From the faulting page to the end of the mapping in one piece: behind the end of a file there is
    // nothing more, and a mapping for each page would run into the kernel's limit of mappings. In hugetlbfs
    // the kernel refuses what would cut a page in two.
    void* zeros = mmap(reinterpret_cast<void*>(pages.begin), pages.end - pages.begin, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) break;
    slot.hit.store(true, std::memory_order_release);
    errno = savedErrno;
    return;
  }
  callPrevious(signal, info, context);
  errno = savedErrno;
}

void install() {
  struct sigaction action = {};
  action.sa_sigaction = onSigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

}  // namespace

int add(std::span<const std::byte> mapping, int file) {
  static std::once_flag installed;
  std::call_once(installed, install);
  const auto pageSize = static_cast<uintptr_t>(std::max(kPageSize, hugePageSize(file)));
  const std::lock_guard lock(slotsMutex);
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = slots[i];
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<uintptr_t>(mapping.data());
    slot.set(begin, begin + mapping.size(), pageSize);
    return static_cast<int>(i);
  }
  return -1;
}

bool hit(int slot) { return slots[static_cast<size_t>(slot)].hit.load(std::memory_order_acquire); }

void remove(int slot) {
  const std::lock_guard lock(slotsMutex);
  slots[static_cast<size_t>(slot)].set(0, 0, kPageSize);
}

}  // namespace xfilter::sigbus_guard
