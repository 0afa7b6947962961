#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "memory/file_descriptor.h"
#include "memory/host_process.h"
#include "memory/physical_memory.h"
#include "memory/ram_presence.h"

namespace xfilter {

class PageCopies;
struct CopyBuffer;

/// A piece of a guest's RAM and where its QEMU has it: `size` bytes at the host-virtual address `host` there.
struct RamRegion {
  PhysicalAddress start;
  uint64_t size = 0;
  uint64_t host = 0;
};

/// The RAM of a guest that runs, in the memory of its QEMU. What QEMU shares with others
/// (memory-backend-memfd, memory-backend-file, hugetlbfs, each with share=on) is mapped here, read-only, and
/// read without system calls. All else is copied page by page (process_vm_readv) into epochs.
///
/// No hole of the guest's RAM is ever touched: it reads as zeros, as it would to the guest.
class LiveMemory final : public PhysicalMemory {
 public:
  /// SOURCE_PERMISSION, SOURCE_GONE, SOURCE_TRUNCATED; PROCESS_UNKNOWN if the process has nothing where the
  /// regions say.
  static Result<std::unique_ptr<LiveMemory>> open(std::shared_ptr<const HostProcess> process,
                                                  std::vector<RamRegion> regions);
  ~LiveMemory() override;

  std::span<const std::byte> view(PhysicalAddress address) const override;
  std::span<const MemoryRange> ranges() const override { return ranges_; }
  MemoryRange nextStored(PhysicalAddress address) const override;
  void release(MemoryRange run) const override;
  bool live() const override { return true; }
  bool fetches() const override { return copied_ > 0; }
  std::unique_ptr<PhysicalMemory> epoch(size_t pass) const override;
  /// Fetches 2 MiB at a time.
  std::unique_ptr<PhysicalMemory> scan() const override;
  std::string_view format() const override { return "qemu"; }
  Result<void> intact() const override;

  /// "96 MiB mapped", "4096 MiB copied"
  std::string describe() const;

 private:
  friend class PageCopies;

  /// A file that QEMU has mapped, mapped here.
  struct Mapping {
    FileDescriptor file;
    std::span<const std::byte> bytes;
    uint64_t fileEnd = 0;
    int guard = -1;  // slot of the SIGBUS guard

    Mapping(FileDescriptor opened, std::span<const std::byte> mapped, uint64_t end, int slot)
        : file(std::move(opened)), bytes(mapped), fileEnd(end), guard(slot) {}
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping();
  };

  /// A part of the guest's RAM that is contiguous in its process.
  struct Piece {
    PhysicalAddress start;
    uint64_t size = 0;
    uint64_t host = 0;                 // in QEMU
    const std::byte* bytes = nullptr;  // here, if it is mapped
    uint64_t firstPage = 0;            // of all the guest's pages
    std::unique_ptr<RamPresence> present{};
    FileDescriptor backing{};  // of what is copied, to tell its holes
  };

  explicit LiveMemory(std::shared_ptr<const HostProcess> process);
  Result<void> add(const RamRegion& region, std::span<const ProcessMapping> mappings);
  Result<void> addPart(const RamRegion& part, const ProcessMapping& mapping);
  Result<const Mapping*> map(const ProcessMapping& mapping);
  void lookAtClock() const;
  const Piece* pieceAt(PhysicalAddress address) const;
  std::unique_ptr<CopyBuffer> takeBuffer() const;
  void giveBack(std::unique_ptr<CopyBuffer> buffer) const;
  std::vector<PhysicalAddress> expected(size_t pass) const;
  void expect(size_t pass, std::vector<PhysicalAddress> pages) const;

  std::shared_ptr<const HostProcess> process_;
  std::vector<std::pair<uint64_t, std::unique_ptr<Mapping>>> mappings_;  // by address in QEMU
  std::vector<Piece> pieces_;                                            // ascending, disjoint
  std::vector<MemoryRange> ranges_;
  uint64_t mapped_ = 0, copied_ = 0;        // bytes
  mutable RamPresence::Seconds second_{0};  // in which the last epoch began
  mutable std::mutex buffersMutex_;
  mutable std::vector<std::unique_ptr<CopyBuffer>> buffers_;
  mutable std::map<size_t, std::vector<PhysicalAddress>> expected_;  // pages, by pass
};

}  // namespace xfilter
