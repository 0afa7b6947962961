#pragma once

#include <memory>
#include <span>
#include <vector>

#include "memory/live_memory.h"

namespace xfilter {

/// Address space as large as the guest's RAM, of which only the pages take memory that were copied. Kept from
/// one epoch to the next, since polls copy nearly the same pages.
struct CopyBuffer {
  explicit CopyBuffer(uint64_t pages);
  CopyBuffer(const CopyBuffer&) = delete;
  CopyBuffer& operator=(const CopyBuffer&) = delete;
  ~CopyBuffer();

  std::span<std::byte> bytes;                     // empty if there was no address space
  std::vector<uint64_t> loaded, viewed, missing;  // a bit for each page, of one epoch
  std::vector<uint64_t> touched;                  // of all since it was last emptied: what takes memory
  uint64_t touchedPages = 0;

  void empty();
};

/// The epoch of a LiveMemory that copies.
class PageCopies final : public PhysicalMemory {
 public:
  /// Fetches `unit` bytes at a time: a page for a walk, which reads here and there, or 2 MiB.
  PageCopies(const LiveMemory& source, uint64_t unit, size_t pass);
  ~PageCopies() override;

  /// To the end of the page; by units of 2 MiB, to the end of the next unit.
  std::span<const std::byte> view(PhysicalAddress address) const override;
  void want(PhysicalAddress address) const override;
  void refresh(PhysicalAddress address) const override;
  std::span<const MemoryRange> ranges() const override { return source_.ranges(); }
  MemoryRange nextStored(PhysicalAddress address) const override { return source_.nextStored(address); }
  void release(MemoryRange run) const override;
  bool live() const override { return true; }
  bool fetches() const override { return unit_ == kPageSize; }
  std::string_view format() const override { return source_.format(); }
  /// OUT_OF_MEMORY if it would have had to hold more than half a GiB; else what the source says.
  Result<void> intact() const override;

 private:
  using Piece = LiveMemory::Piece;
  struct Part {
    const Piece* piece = nullptr;
    uint64_t offset = 0;  // in the piece
    uint64_t size = 0;
  };

  bool isLoaded(uint64_t page) const { return buffer_->loaded[page / 64] >> (page % 64) & 1; }
  /// Of a walk: it could not be copied, and is not there for the rest of the epoch.
  bool isMissing(uint64_t page) const { return buffer_->missing[page / 64] >> (page % 64) & 1; }
  void setLoaded(uint64_t firstPage, uint64_t count) const;
  std::byte* copyOf(const Piece& piece, uint64_t offset) const;
  Part unitAt(const Piece& piece, uint64_t offset) const;
  void load(std::span<const Part> parts) const;
  void copy(std::vector<Part>& parts) const;

  void setViewed(uint64_t page, PhysicalAddress address) const;

  const LiveMemory& source_;
  uint64_t unit_;
  size_t pass_;
  std::unique_ptr<CopyBuffer> buffer_;
  mutable std::vector<Part> wanted_;
  mutable std::vector<uint64_t> loadedPages_;         // of a walk: to be forgotten after it
  mutable std::vector<PhysicalAddress> viewedPages_;  // to be expected in the next epoch of the pass
  mutable uint64_t bytes_ = 0;                        // held
  mutable bool exhausted_ = false;
};

}  // namespace xfilter
