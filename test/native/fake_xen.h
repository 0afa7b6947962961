#pragma once

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "memory/address.h"
#include "memory/file_descriptor.h"
#include "memory/xen_libraries.h"

namespace xfilter::test {

/// In place of Xen's libraries and one domain, neither of which there is on a machine that runs tests: frames
/// that can be mapped, given back and got anew, and what Xen and its store tell of the domain. One at a time,
/// as the libraries' functions are plain ones.
class FakeXen {
 public:
  static constexpr uint32_t kDying = 1 << 0;
  static constexpr uint32_t kHvm = 1 << 1;
  static constexpr uint32_t kShutdown = 1 << 2;

  FakeXen() { current = this; }
  FakeXen(const FakeXen&) = delete;
  FakeXen& operator=(const FakeXen&) = delete;
  ~FakeXen() { current = nullptr; }

  /// Gives the domain a page. Each has a memory of its own: who has mapped a frame that was given back goes
  /// on to see what was there.
  void give(uint64_t frame, uint64_t content) {
    const int file = memfd_create("frame", MFD_CLOEXEC);
    if (ftruncate(file, kPageSize) != 0 || pwrite(file, &content, sizeof content, 0) != sizeof content)
      std::abort();
    frames_[frame] = FileDescriptor(file);
  }
  void take(uint64_t frame) { frames_.erase(frame); }

  /// Gives it many, in one piece of memory.
  void giveMany(uint64_t first, uint64_t count) {
    many_ = {first, count, FileDescriptor(memfd_create("frames", MFD_CLOEXEC))};
    if (ftruncate(many_.memory.get(), static_cast<off_t>(count * kPageSize)) != 0) std::abort();
  }

  /// What xenstore tells who watches `path`.
  void tell(const std::string& path) {
    const std::lock_guard lock(eventsMutex_);
    events_.push_back(path);
    eventfd_write(eventsThere_.get(), 1);
  }

  // What is told of the domain.
  uint32_t id = 7;
  uint8_t uuid = 1;  // its first byte
  std::atomic<uint32_t> flags = 0;
  uint64_t pages = 0;
  std::map<std::string, std::string> store;
  int storeError = ENOENT;  // of what is not in the store

  // What was asked for.
  std::atomic<size_t> mapCalls = 0;
  std::atomic<size_t> mappings = 0, mappedPages = 0;  // that stand
  std::vector<std::string> watched;
  int pauses = 0;
  int mapError = 0;  // an errno: nothing can be mapped at all

  XenLibraries functions() const {
    XenLibraries table;
    table.controlOpen = [](void*, void*, unsigned) -> void* { return current; };
    table.controlClose = [](void*) { return 0; };
    table.foreignOpen = [](void*, unsigned) -> void* { return current; };
    table.foreignClose = [](void*) { return 0; };
    table.domainInfo = [](void*, uint32_t first, unsigned, void* state) {
      return current->describe(first, static_cast<std::byte*>(state));
    };
    table.vcpuContext = [](void*, uint32_t, uint32_t vcpu, void* context) {
      constexpr size_t kRip = 0x288;
      const uint64_t rip = 0x1000 + vcpu;
      std::memcpy(static_cast<std::byte*>(context) + kRip, &rip, sizeof rip);
      return 0;
    };
    table.lastFrame = [](void*, uint32_t, unsigned long* frame) {
      *frame = current->frames_.empty() ? 0 : current->frames_.rbegin()->first;
      return 0;
    };
    table.pause = [](void*, uint32_t) { return ++current->pauses, 0; };
    table.unpause = [](void*, uint32_t) { return --current->pauses, 0; };
    table.map = [](void*, uint32_t, int protection, size_t count, const uint64_t* frames, int* errors) {
      return current->map(protection, count, frames, errors);
    };
    table.unmap = [](void*, void* address, size_t count) {
      --current->mappings;
      current->mappedPages -= count;
      return munmap(address, count * kPageSize);
    };
    table.storeOpen = [](unsigned long) -> void* { return current; };
    table.storeClose = [](void*) {};
    table.storeRead = [](void*, uint32_t, const char* path, unsigned* size) {
      return current->readStore(path, size);
    };
    table.storeList = [](void*, uint32_t, const char* path, unsigned* count) {
      return current->listStore(path, count);
    };
    table.storeWatch = [](void*, const char* path, const char*) {
      current->watched.emplace_back(path);
      return true;
    };
    table.storeDescriptor = [](void*) { return current->eventsThere_.get(); };
    table.storeEvent = [](void*) { return current->nextEvent(); };
    return table;
  }

 private:
  static inline FakeXen* current = nullptr;

  int describe(uint32_t first, std::byte* state) const {
    if (id < first) return 0;
    const auto number = static_cast<uint16_t>(id);
    const uint32_t now = flags, lastVcpu = 1;
    std::memcpy(state, &number, sizeof number);
    std::memcpy(state + 4, &now, sizeof now);
    std::memcpy(state + 8, &pages, sizeof pages);
    std::memcpy(state + 68, &lastVcpu, sizeof lastVcpu);
    std::memcpy(state + 76, &uuid, sizeof uuid);
    return 1;
  }

  /// As libxenforeignmemory does: a mapping all the same where pages failed, which must not be touched.
  void* map(int protection, size_t count, const uint64_t* frames, int* errors) {
    if (protection != PROT_READ) std::abort();
    ++mapCalls;
    if (mapError != 0) return errno = mapError, nullptr;
    ++mappings;
    mappedPages += count;
    void* const all = mmap(nullptr, count * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < count; ++i) {
      const auto found = frames_.find(frames[i]);
      const uint64_t place = frames[i] - many_.first;
      const bool amongMany = found == frames_.end() && place < many_.count;
      errors[i] = found == frames_.end() && !amongMany ? -EINVAL : 0;
      if (errors[i] != 0) continue;
      void* const page = static_cast<std::byte*>(all) + i * kPageSize;
      const int file = amongMany ? many_.memory.get() : found->second.get();
      const off_t offset = amongMany ? static_cast<off_t>(place * kPageSize) : 0;
      if (mmap(page, kPageSize, PROT_READ, MAP_SHARED | MAP_FIXED, file, offset) != page) std::abort();
    }
    return all;
  }

  void* readStore(const char* path, unsigned* size) const {
    const auto found = store.find(path);
    if (found == store.end()) return errno = storeError, nullptr;
    *size = static_cast<unsigned>(found->second.size());
    return strdup(found->second.c_str());
  }

  /// As libxenstore does: pointers and what they point to in one piece of memory.
  static char** inOnePiece(const std::vector<std::string>& texts) {
    size_t size = texts.size() * sizeof(char*);
    for (const std::string& text : texts) size += text.size() + 1;
    auto* const pointers = static_cast<char**>(std::malloc(size));
    auto* place = reinterpret_cast<char*>(pointers + texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      pointers[i] = place;
      std::memcpy(place, texts[i].c_str(), texts[i].size() + 1);
      place += texts[i].size() + 1;
    }
    return pointers;
  }

  char** listStore(const std::string& path, unsigned* count) const {
    std::vector<std::string> names;
    for (const auto& [key, value] : store) {
      if (!key.starts_with(path + "/")) continue;
      const std::string below = key.substr(path.size() + 1);
      const std::string name = below.substr(0, below.find('/'));
      if (names.empty() || names.back() != name) names.push_back(name);
    }
    *count = static_cast<unsigned>(names.size());
    if (names.empty()) return errno = storeError, nullptr;
    return inOnePiece(names);
  }

  char** nextEvent() {
    const std::lock_guard lock(eventsMutex_);
    eventfd_t count = 0;
    if (events_.empty()) {
      eventfd_read(eventsThere_.get(), &count);
      return nullptr;
    }
    const std::string path = events_.front();
    events_.erase(events_.begin());
    return inOnePiece({path, path});
  }

  struct Frames {
    uint64_t first = 0, count = 0;
    FileDescriptor memory{};
  };

  std::map<uint64_t, FileDescriptor> frames_;
  Frames many_;
  std::mutex eventsMutex_;
  std::vector<std::string> events_;
  FileDescriptor eventsThere_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

}  // namespace xfilter::test
