#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "memory/file_descriptor.h"
#include "memory/process_maps.h"
#include "memory/result.h"

namespace xfilter {

/// A process whose memory is read from outside. It stays this process: one that gets its number after its end
/// is not taken for it.
class HostProcess {
 public:
  /// SOURCE_NOT_FOUND without such a process, SOURCE_PERMISSION if this one may not look into it.
  static Result<std::unique_ptr<HostProcess>> open(int pid);

  int pid() const { return pid_; }
  bool alive() const;

  /// SOURCE_PERMISSION, SOURCE_GONE.
  Result<std::vector<ProcessMapping>> mappings() const;

  /// An own read-only descriptor of the file of a mapping: none if this process may not open it.
  FileDescriptor openMapped(const ProcessMapping& mapping) const;

  /// Which of the pages from `address` on are in memory or swapped out: a bit each, from the lowest of the
  /// first word on. At most a multiple of 64 pages; what cannot be told is 0.
  void residentPages(uint64_t address, std::span<uint64_t> words) const;

  /// Copies the bytes of `remote` to `local`, at most 1024 pieces each. How many bytes were copied: as many
  /// as lie before the first piece that is not there.
  size_t read(std::span<const iovec> local, std::span<const iovec> remote) const;

  /// An error if reading failed for want of permission, or the process has ended.
  Result<void> readable() const;

 private:
  HostProcess(int pid, FileDescriptor handle, FileDescriptor directory, FileDescriptor pagemap)
      : pid_(pid),
        handle_(std::move(handle)),
        directory_(std::move(directory)),
        pagemap_(std::move(pagemap)) {}

  int pid_;
  FileDescriptor handle_;     // pidfd
  FileDescriptor directory_;  // /proc/PID, of this process even when another has its number
  FileDescriptor pagemap_;
};

}  // namespace xfilter
