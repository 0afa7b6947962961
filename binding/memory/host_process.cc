#include "memory/host_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "memory/address.h"

namespace xfilter {
namespace {

constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr size_t kMaxMaps = 64 << 20;  // bytes: the kernel allows 65,530 mappings

std::string nameOf(int pid) { return "process " + std::to_string(pid); }

tl::unexpected<Error> gone(int pid) {
  return failure("SOURCE_GONE", "QEMU's " + nameOf(pid) + " has ended.",
                 "Attach again when the guest runs again.");
}

tl::unexpected<Error> refused(int pid, const char* what) {
  return failure(
      "SOURCE_PERMISSION", std::string("This process may not ") + what + " of " + nameOf(pid) + ".",
      "Run as root or as QEMU's own user, in a container with CAP_SYS_PTRACE; private guest memory "
      "also needs CAP_SYS_PTRACE or kernel.yama.ptrace_scope=0. See docs/live.md.");
}

Result<std::string> readAll(int directory, const char* name, int pid) {
  const FileDescriptor file(openat(directory, name, O_RDONLY | O_CLOEXEC));
  if (!file) {
    if (errno == EACCES || errno == EPERM) return refused(pid, "look into the memory");
    return gone(pid);
  }
  std::string text;
  std::array<char, 1 << 16> part;
  while (text.size() < kMaxMaps) {
    const ssize_t size = ::read(file.get(), part.data(), part.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(part.data(), static_cast<size_t>(size));
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<HostProcess>> HostProcess::open(int pid) {
  FileDescriptor handle(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!handle) {
    if (errno == ESRCH || errno == EINVAL) {
      return failure("SOURCE_NOT_FOUND", "There is no " + nameOf(pid) + ".",
                     "Give the process id of the QEMU that runs the guest.");
    }
    return failure("SOURCE_IO", "Cannot watch " + nameOf(pid) + ": " + std::strerror(errno) + ".",
                   "A kernel of Linux 5.3 or newer is needed on the host.");
  }
  FileDescriptor directory(
      ::open(("/proc/" + std::to_string(pid)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  FileDescriptor pagemap(directory ? openat(directory.get(), "pagemap", O_RDONLY | O_CLOEXEC) : -1);
  const int error = errno;
  std::unique_ptr<HostProcess> process(
      new HostProcess(pid, std::move(handle), std::move(directory), std::move(pagemap)));
  // Alive after the directory was opened: it is of the same process.
  if (!process->alive()) return gone(pid);
  if (!process->directory_) {
    return failure("PROCESS_UNKNOWN", "/proc has no " + nameOf(pid) + ", which runs.",
                   "Mount a /proc of this process's own pid namespace (in a container, share the host's).");
  }
  if (!process->pagemap_) {
    if (error == EACCES || error == EPERM) return refused(pid, "look into the memory");
    // A process that ends has lost its memory before it is seen to have ended.
    if (error == ESRCH) return gone(pid);
    return failure("SOURCE_IO",
                   "Cannot open the page map of " + nameOf(pid) + ": " + std::strerror(error) + ".",
                   "A kernel with CONFIG_PROC_PAGE_MONITOR is needed on the host.");
  }
  return process;
}

bool HostProcess::alive() const {
  // A pidfd becomes readable when its process ends, zombie or not.
  pollfd state{handle_.get(), POLLIN, 0};
  return poll(&state, 1, 0) == 0;
}

Result<std::vector<ProcessMapping>> HostProcess::mappings() const {
  const auto text = readAll(directory_.get(), "maps", pid_);
  if (!text) return tl::unexpected(text.error());
  if (text->empty()) return gone(pid_);
  return parseProcessMaps(*text);
}

FileDescriptor HostProcess::openMapped(const ProcessMapping& mapping) const {
  // By the mapping itself, which takes CAP_CHECKPOINT_RESTORE or root; otherwise by a descriptor that QEMU
  // has of the same file.
  std::array<char, 64> name;
  std::snprintf(name.data(), name.size(), "map_files/%llx-%llx",
                static_cast<unsigned long long>(mapping.start), static_cast<unsigned long long>(mapping.end));
  FileDescriptor file(openat(directory_.get(), name.data(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file) return file;
  const int folder = openat(directory_.get(), "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const descriptors = fdopendir(folder);
  if (descriptors == nullptr) {
    if (folder >= 0) ::close(folder);
    return file;
  }
  while (const dirent* entry = readdir(descriptors)) {
    struct stat status = {};
    if (entry->d_name[0] == '.' || fstatat(dirfd(descriptors), entry->d_name, &status, 0) != 0) continue;
    if (status.st_ino != mapping.inode || status.st_dev != mapping.device) continue;
    file = FileDescriptor(openat(dirfd(descriptors), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    break;
  }
  closedir(descriptors);
  return file;
}

void HostProcess::residentPages(uint64_t address, std::span<uint64_t> words) const {
  constexpr size_t kBits = 64;
  std::array<uint64_t, 512> entries;
  std::fill(words.begin(), words.end(), 0);
  const size_t pages = words.size() * kBits;
  for (size_t first = 0; first < pages; first += entries.size()) {
    const size_t count = std::min(entries.size(), pages - first);
    const ssize_t size = pread(pagemap_.get(), entries.data(), count * sizeof(uint64_t),
                               static_cast<off_t>((address / kPageSize + first) * sizeof(uint64_t)));
    const size_t told = size > 0 ? static_cast<size_t>(size) / sizeof(uint64_t) : 0;
    for (size_t i = 0; i < told; ++i) {
      if (entries[i] & (kPresent | kSwapped))
        words[(first + i) / kBits] |= uint64_t{1} << ((first + i) % kBits);
    }
  }
}

size_t HostProcess::read(std::span<const iovec> local, std::span<const iovec> remote) const {
  const ssize_t size = process_vm_readv(pid_, local.data(), local.size(), remote.data(), remote.size(), 0);
  return size < 0 ? 0 : static_cast<size_t>(size);
}

Result<void> HostProcess::readable() const {
  if (!alive()) return gone(pid_);
  // Nothing lies at address 0: permission is asked first.
  std::byte byte{};
  const iovec local{&byte, 1};
  const iovec remote{nullptr, 1};
  if (process_vm_readv(pid_, &local, 1, &remote, 1, 0) >= 0) return {};
  if (errno == EPERM || errno == EACCES) return refused(pid_, "read the memory");
  if (errno == ESRCH) return gone(pid_);
  return {};
}

}  // namespace xfilter
