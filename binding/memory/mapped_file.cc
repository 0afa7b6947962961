#include "memory/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "memory/address.h"
#include "memory/sigbus_guard.h"

namespace xfilter {
namespace {

tl::unexpected<Error> openFailure(const std::string& path, int error) {
  const std::string what = "Cannot open " + path + ": " + std::strerror(error) + ".";
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return failure("SOURCE_NOT_FOUND", what, "Check the path.");
    case EACCES:
    case EPERM:
      return failure("SOURCE_PERMISSION", what, "Grant this user read permission on the file.");
    case ENXIO:  // of open(), for a socket
      return failure("SOURCE_FORMAT", path + " is a socket or a device, not a memory image.",
                     "If it is QEMU's QMP socket, write qemu: in front of it.");
    default:
      return failure("SOURCE_IO", what, "Check the file and the medium that it is on.");
  }
}

std::string_view kindOf(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return "empty";
    case S_IFDIR:
      return "a directory, not a file";
    case S_IFIFO:
      return "a FIFO, not a file";
    case S_IFSOCK:
      return "a socket, not a file";
    default:
      return "a device, not a file";
  }
}

}  // namespace

Result<std::unique_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK the open of a FIFO would wait for a writer for ever.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return openFailure(path, errno);

  struct stat status = {};
  if (fstat(fd, &status) != 0) {
    const int error = errno;
    ::close(fd);
    return openFailure(path, error);
  }
  if (!S_ISREG(status.st_mode) || status.st_size <= 0) {
    ::close(fd);
    return failure("SOURCE_FORMAT", path + " is " + std::string(kindOf(status)) + ".",
                   "Give a memory image: an ELF core of QEMU or libvirt, or a raw file of the guest's RAM.");
  }

  const auto size = static_cast<size_t>(status.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (address == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    return failure("SOURCE_IO", "Cannot map " + path + ": " + std::strerror(error) + ".",
                   "Check that the file system supports mapping, and the process's address-space limit.");
  }
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(address), size);
  const int guard = sigbus_guard::add(bytes, fd);
  if (guard < 0) {
    munmap(address, size);
    ::close(fd);
    return failure("SOURCE_IO", "Too many images are open in this process.", "Close guests that are done.");
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, fd, bytes, guard));
}

MappedFile::~MappedFile() {
  sigbus_guard::remove(guard_);
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  ::close(fd_);
}

bool MappedFile::shrunk() const { return sigbus_guard::hit(guard_); }

MappedFile::Run MappedFile::nextStored(size_t offset, size_t end) const {
  end = std::min(end, bytes_.size());
  if (offset >= end) return {};
  const off_t data = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) {
    // ENXIO: only a hole is left. Anything else: the file system cannot tell, and all of it counts as stored.
    return errno == ENXIO ? Run{} : Run{offset, end - offset};
  }
  if (static_cast<size_t>(data) >= end) return {};
  const off_t hole = lseek(fd_, data, SEEK_HOLE);
  const size_t stop = hole < 0 ? end : std::min(end, static_cast<size_t>(hole));
  return {static_cast<size_t>(data), stop - static_cast<size_t>(data)};
}

void MappedFile::release(Run run) const {
  const size_t begin = (run.offset + kPageSize - 1) & ~(kPageSize - 1);
  const size_t end = (run.offset + run.size) & ~(kPageSize - 1);
  // After a SIGBUS, part of the mapping is anonymous memory; MADV_DONTNEED leaves that readable as zeros,
  // too.
  if (begin < end) madvise(const_cast<std::byte*>(bytes_.data()) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace xfilter
