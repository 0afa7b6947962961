#pragma once

#include <optional>
#include <string>

#include "kernel/kernel_space.h"

namespace xfilter {

/// The addresses that the walk starts from and the ones that lead to types and identity.
struct Symbols {
  VirtualAddress initTask;
  VirtualAddress socketFileOps;
  std::optional<VirtualAddress> linuxBanner;
  std::optional<VirtualAddress> startBtf, stopBtf;
  std::optional<VirtualAddress> startNotes, stopNotes;
  /// The kernel's clock: whichever of the three the release has (kernel_clock.h).
  std::optional<VirtualAddress> timekeeperData, tkCore, shadowTimekeeper;

  std::string how;    // where the tables were
  std::string found;  // how many symbols, in which encoding
};

/// Reads the kernel's symbol table. SYMBOLS_NOT_FOUND says what is missing.
Result<Symbols> findSymbols(KernelMemory& memory, const Vmcoreinfo& info);

}  // namespace xfilter
