#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "memory/address.h"
#include "memory/result.h"
#include "memory/vcpu_registers.h"

namespace xfilter {

/// A run of guest-physical memory, `size` bytes from `start` on.
struct MemoryRange {
  PhysicalAddress start;
  uint64_t size = 0;
};

/// What a page reads as that the guest's host has not: it may exist a moment later.
inline constexpr std::array<std::byte, kPageSize> kHole{};

/// An epoch that is like no other: PhysicalMemory::epoch.
inline constexpr size_t kNoPass = 0;

/// Where a guest's bytes come from. One implementation a source; everything above knows only this.
///
/// Threads: `view` may be called from several threads at once.
class PhysicalMemory {
 public:
  PhysicalMemory() = default;
  PhysicalMemory(const PhysicalMemory&) = delete;
  PhysicalMemory& operator=(const PhysicalMemory&) = delete;
  virtual ~PhysicalMemory() = default;

  /// The bytes from `address` to the end of the run that is contiguous in host memory, or an empty span where
  /// the guest has no memory or the source does not hold it. That is at least to the end of the 4 KiB page,
  /// unless a range of the source begins or ends inside it, which no dump's does: KernelMemory takes such a
  /// page for absent. A page of a live guest that its host has not is `kHole`.
  ///
  /// The guest may change these bytes at any time: copy once, then use the copy only.
  virtual std::span<const std::byte> view(PhysicalAddress address) const = 0;

  /// The guest's memory, ascending and disjoint.
  virtual std::span<const MemoryRange> ranges() const = 0;

  /// How many bytes the guest has.
  virtual uint64_t size() const {
    uint64_t bytes = 0;
    for (const MemoryRange& range : ranges()) bytes += range.size;
    return bytes;
  }

  /// The first run of `ranges()` at or after `address` whose bytes are really stored: holes of sparse files
  /// are left out, so that a scan touches none. An empty run when there is nothing more.
  virtual MemoryRange nextStored(PhysicalAddress address) const = 0;

  /// Says that the caller is done with a run that it scanned: a mapped source takes it out of its resident
  /// set.
  virtual void release(MemoryRange run) const = 0;

  /// Whether the guest runs on while it is read: a walk then has to make sure of what it read.
  virtual bool live() const { return false; }

  /// Whether a page that was not asked for before costs a system call: it is copied out of another process,
  /// or mapped. `view` of such a source serves nothing: its epochs do.
  virtual bool fetches() const { return false; }

  /// Begins a walk over a guest that runs: what is kept from earlier walks is made sure of, and stays until
  /// the result is let go of, which must not outlive this memory. SOURCE_GONE if the guest has ended.
  virtual Result<std::shared_ptr<const void>> session() const { return std::shared_ptr<const void>(); }

  /// What a pass over the guest reads from, if not this memory itself (then empty). Of a source that copies:
  /// a cache of pages, each fetched when it is first asked for and unchanged until the epoch ends, or it is
  /// refreshed. A page of a later epoch was read later. Of one that maps: the guest's pages as they are.
  ///
  /// What the last epoch of the same `pass` read is fetched with the first page that is missing, in one go:
  /// who polls a guest reads nearly the same pages again. Of kNoPass nothing is expected.
  ///
  /// For one thread. What `view` returned lives as long as the epoch, which must not outlive this memory.
  virtual std::unique_ptr<PhysicalMemory> epoch(size_t /*pass*/) const { return nullptr; }

  /// An epoch for attaching, which reads much in one piece: it fetches large ones. Empty as that of `epoch`.
  virtual std::unique_ptr<PhysicalMemory> scan() const { return nullptr; }

  /// Asks for a page that will be read soon. An epoch fetches all that were asked for with the first one that
  /// is read and missing.
  virtual void want(PhysicalAddress) const {}

  /// Reads an epoch's copy of a page anew, in place. What is not a copy is always new.
  virtual void refresh(PhysicalAddress) const {}

  /// Whether page tables hold other frame numbers than the guest's kernel counts by, and with them this
  /// memory: those of the machine, as in paravirtual guests of Xen. What lies in one piece there, as the
  /// kernel's image does, is scattered here, and no arithmetic leads from a virtual address to one of this
  /// memory: only page tables do.
  virtual bool scattered() const { return false; }

  /// The VMCOREINFO text that the source carries beside the memory, or an empty view.
  virtual std::string_view vmcoreinfoNote() const { return {}; }

  /// The registers of the guest's vCPUs, where the source tells them: of an image as they were, of a guest
  /// that runs as they are.
  virtual std::vector<VcpuRegisters> vcpus() const { return {}; }

  /// "elf", "xen", "raw", …
  virtual std::string_view format() const = 0;

  /// Whether the source has all of the guest's RAM, or else was cut off: dumps that leave pages out have not.
  virtual bool claimsAllRam() const { return false; }

  /// An error if bytes handed out since the source was opened were not the guest's, because the file shrank
  /// below its mapping. Checked after every attach and walk.
  virtual Result<void> intact() const = 0;
};

}  // namespace xfilter
