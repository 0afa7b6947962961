#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernel/boot.h"
#include "kernel/given.h"
#include "kernel/layout.h"
#include "kernel/profile.h"
#include "kernel/symbols.h"
#include "kernel/vmcoreinfo.h"
#include "memory/budget.h"
#include "paging/kernel_memory.h"

namespace xfilter {

struct KernelOptions {
  /// Types and symbols to use instead of the guest's own.
  std::shared_ptr<const Given> given{};
};

/// One step of finding the kernel: what was found, how, and how long it took.
struct AttachStep {
  const char* name;
  std::string how;
  std::string found;
  uint64_t elapsedNs = 0;
};

/// A kernel found in a guest's memory: all that a walk needs, and nothing that changes.
struct Kernel {
  std::string release;  // uname -r
  std::string banner;   // /proc/version
  std::optional<std::string> buildId;
  int64_t physBase = 0;  // may be negative
  uint64_t kaslrOffset = 0;
  bool typesFromGuest = true;
  bool symbolsFromGuest = true;
  /// What was resolved, to attach by another time without asking the guest.
  Profile profile;
  /// Seconds of the guest's wall clock, as far as its kernel had written them down.
  std::optional<int64_t> clock;
  std::vector<AttachStep> steps;

  AddressSpace space;
  Layout layout;
  Symbols symbols;
  /// Where the guest's RAM ends, as its kernel has it.
  std::optional<uint64_t> ramEnd{};
  /// Which boot of the guest it is; empty if it had no process yet.
  std::optional<Boot> boot{};
};

/// Where the guest's RAM ends now: it grows when memory is plugged in. Empty if the kernel does not tell.
std::optional<uint64_t> readRamEnd(const Kernel& kernel);

/// The guest's wall clock now, in seconds, as its kernel last wrote it. Empty if the kernel does not tell.
std::optional<int64_t> readClock(const Kernel& kernel);

/// Finds the running kernel: its page tables, symbols, types, and from these the layout.
///
/// Errors: KERNEL_NOT_FOUND, SOURCE_TRUNCATED, SYMBOLS_NOT_FOUND, TYPES_NOT_FOUND, TYPES_INVALID,
/// LAYOUT_INCOMPLETE; ATTACH_BUDGET when the time is up, ABORTED on request.
Result<Kernel> findKernel(const PhysicalMemory& memory, const KernelOptions& options, Budget& budget);

}  // namespace xfilter
