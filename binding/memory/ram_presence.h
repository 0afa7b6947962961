#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "memory/host_process.h"

namespace xfilter {

/// Which pages of a piece of guest RAM exist on the host. To read one that does not through a mapping would
/// make it: undo a balloon, eat a huge page.
///
/// The process's page table tells most of it, 2 MiB at a time. That a page is there is believed until the
/// second has changed: if the host took it away meanwhile, reading costs one page. That one is not there is
/// never believed, but asked for again: a guest that has just begun to use it would lose what lies there. The
/// file tells the rest, where there is one: another process (vhost-user) may have written there.
///
/// Threads: for any number at once.
class RamPresence {
 public:
  /// A clock that its owner sets. A look-up is too short to look at one itself.
  using Seconds = std::atomic<int64_t>;

  /// Of `size` bytes at `address` of the process. `file` is -1 where no file can tell of holes; byte 0 of the
  /// piece lies in it at `fileOffset`. `phase` is where the piece begins within a 2 MiB page of the guest.
  RamPresence(const HostProcess& process, const Seconds& now, uint64_t address, uint64_t size, uint64_t phase,
              int file, uint64_t fileOffset);

  /// How many bytes from `offset` on exist, at most to the end of the guest's 2 MiB page; 0 for a hole.
  uint64_t run(uint64_t offset) const;

  /// Where the first page at or after `offset` is that exists; the piece's size if there is none.
  uint64_t next(uint64_t offset) const;

 private:
  static constexpr uint64_t kBlock = uint64_t{2} << 20;
  static constexpr size_t kWords = kBlock / 4096 / 64;
  struct Block {
    std::atomic<int64_t> asked{-1};
    std::array<std::atomic<uint64_t>, kWords> present{};
  };

  Block& fresh(uint64_t block) const;
  bool inFile(uint64_t offset) const;
  bool nowInProcess(uint64_t offset) const;

  const HostProcess& process_;
  const Seconds& now_;
  uint64_t address_, size_, phase_;
  int file_;
  uint64_t fileOffset_;
  std::unique_ptr<Block[]> blocks_;
};

}  // namespace xfilter
