#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "memory/result.h"

namespace xfilter {

/// A file mapped read-only. Opening it costs address space, not memory: pages come in as they are touched.
///
/// A file that shrinks under its mapping does not kill the process: the SIGBUS of a read beyond its new end
/// is answered with zero pages, and `shrunk()` says from then on that what was read cannot be trusted.
class MappedFile {
 public:
  static Result<std::unique_ptr<MappedFile>> open(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  bool shrunk() const;

  struct Run {
    size_t offset = 0;
    size_t size = 0;
  };

  /// The first run of stored bytes in [offset, end): holes of a sparse file are passed over.
  Run nextStored(size_t offset, size_t end) const;

  /// Takes whole pages of the run out of the resident set; they come back when they are touched.
  void release(Run run) const;

 private:
  MappedFile(std::string path, int fd, std::span<const std::byte> bytes, int guard)
      : path_(std::move(path)), fd_(fd), bytes_(bytes), guard_(guard) {}

  std::string path_;
  int fd_;
  std::span<const std::byte> bytes_;
  int guard_;  // slot of the SIGBUS guard
};

}  // namespace xfilter
