#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "kernel/guest_object.h"
#include "kernel/kernel.h"
#include "memory/budget.h"
#include "walk/address_index.h"
#include "walk/quality.h"

namespace xfilter {

/// The passes of a walk that read nearly the same pages each time: docs/consistency.md has those of a guest
/// that runs, of which the first round counts.
enum class Pass : size_t {
  kOther = kNoPass,
  kBoot,
  kWhole,  // of a guest that is paused
  kTasks,
  kDescriptors,
  kSocks,
  kSocksAgain,
  kSocketsAgain,
  kTasksAgain,
  kTables,
  kTablesAgain,
  kNamespaces,
  kNamespacesAgain,
  kBootAgain,
};

/// What the parts of one walk share.
struct WalkContext {
  const Kernel& kernel;
  KernelMemory memory;
  Budget budget;
  /// Whether a guest that is not in an image stands still for this walk all the same.
  bool paused = false;
  Quality quality{};
  AddressIndex namespaceNumbers{};
  /// What `memory` reads from where that is not the source itself: see PhysicalMemory::epoch.
  std::unique_ptr<PhysicalMemory> epoch{};
  /// The first epoch that was not what it should have been.
  Result<void> intact{};
  /// Bytes of processes' arguments that may still be kept.
  uint64_t argsLeft = 64 << 20;

  const Layout& layout() const { return kernel.layout; }

  /// Whether the guest runs on: docs/consistency.md says what is done about it.
  bool live() const { return !paused && kernel.space.memory().live(); }

  /// All that is read from here on is newer than all that was read before.
  void renew(Pass pass) {
    orderReads();
    if (epoch && intact) intact = epoch->intact();
    epoch.reset();
    epoch = kernel.space.memory().epoch(static_cast<size_t>(pass));
    memory.reset(epoch ? kernel.space.over(*epoch) : kernel.space);
    namespaceNumbers = {};
    lastNamespace = {};
  }

  /// The bytes from `address` to the first NUL, at most `maximum`; empty where they are not in memory.
  std::optional<std::string> readString(VirtualAddress address, size_t maximum) {
    std::string text;
    while (text.size() < maximum) {
      const auto bytes = memory.view(address + text.size());
      if (bytes.empty()) return std::nullopt;
      // Copied before it is searched: the guest may write to it meanwhile.
      const size_t start = text.size();
      text.append(reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), maximum - start));
      const size_t end = text.find('\0', start);
      if (end != std::string::npos) {
        text.resize(end);
        break;
      }
    }
    return text;
  }

  /// How many objects of at least `size` bytes each the guest's memory has room for: no more of them can be
  /// in earnest, whatever its lists say.
  size_t roomFor(uint64_t size) const { return memory.space().memory().size() / size; }

  /// The inode number of a namespace, by which /proc/PID/ns names it; `inum` is that member in its structure.
  /// 0 if it cannot be read.
  uint32_t namespaceNumber(VirtualAddress ns, const std::optional<Field>& inum) {
    if (!ns || !inum) return 0;
    if (ns == lastNamespace.address) return lastNamespace.number;
    const auto [number, isNew] = namespaceNumbers.insert(ns, 0);
    if (isNew) {
      GuestObject object(memory, ns);
      *number = object.integer32(*inum);
      if (!object.ok()) ++quality.badPointers;
    }
    lastNamespace = {ns, *number};
    return *number;
  }

  // Nearly all that is asked for in a row is the same.
  struct {
    VirtualAddress address;
    uint32_t number = 0;
  } lastNamespace{};
};

}  // namespace xfilter
