#include "memory/sigbus_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>

#include "memory/address.h"

// Why a handler that maps zero pages, and not one that jumps out of the read: a jump would skip the
// destructors of every frame between, and a read may happen on any thread. With zeros in place the reader
// goes on, finds nothing believable, and the source reports the failure when the walk is over.
namespace xfilter::sigbus_guard {
namespace {

struct Slot {
  std::atomic<uintptr_t> begin{0};  // 0: free
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> hit{false};
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
  } else {
    // Not ours, and nobody else's: the default action takes over when the faulting read runs again.
    struct sigaction standard = {};
    standard.sa_handler = SIG_DFL;
    sigaction(signal, &standard, nullptr);
  }
}

void onSigbus(int signal, siginfo_t* info, void* context) {
  const int savedErrno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Slot& slot : slots) {
    const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    const uintptr_t end = slot.end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    // From the faulting page to the end of the mapping in one piece: behind the end of a file there is
    // nothing more, and a mapping for each page would run into the kernel's limit of mappings.
    const uintptr_t page = address & ~(kPageSize - 1);
    void* zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
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

int add(std::span<const std::byte> mapping) {
  static std::once_flag installed;
  std::call_once(installed, install);
  const std::lock_guard lock(slotsMutex);
  for (size_t i = 0; i < slots.size(); ++i) {
    Slot& slot = slots[i];
    if (slot.begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<uintptr_t>(mapping.data());
    slot.hit.store(false, std::memory_order_relaxed);
    slot.end.store(begin + mapping.size(), std::memory_order_release);
    slot.begin.store(begin, std::memory_order_release);
    return static_cast<int>(i);
  }
  return -1;
}

bool hit(int slot) { return slots[static_cast<size_t>(slot)].hit.load(std::memory_order_acquire); }

void remove(int slot) {
  const std::lock_guard lock(slotsMutex);
  slots[static_cast<size_t>(slot)].begin.store(0, std::memory_order_release);
}

}  // namespace xfilter::sigbus_guard
