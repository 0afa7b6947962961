#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>

#include "paging/x86_64.h"

namespace xfilter {

/// Reads before it are done before those after it. What a guest that runs is held to rests on their order.
inline void orderReads() { std::atomic_thread_fence(std::memory_order_acquire); }

/// Reads the guest's memory by kernel virtual address, through a cache of translations that lives as long as
/// this object: one attach, or one walk. Not for several threads at once.
class KernelMemory {
 public:
  explicit KernelMemory(const AddressSpace& space) : space_(space), fetches_(space.memory().fetches()) {}

  /// Reads from `space` from here on and forgets all translations.
  void reset(const AddressSpace& space) {
    space_ = space;
    fetches_ = space.memory().fetches();
    large_.fill({});
    small_.fill({});
    inPieces_.fill({});
  }

  /// The bytes from `address` on that are contiguous in host memory, at least to the end of the guest's page;
  /// empty where nothing is mapped. They may change under the reader: copy once.
  std::span<const std::byte> view(VirtualAddress address) {
    const Entry& large = large_[(address.value >> kLargeShift) % large_.size()];
    if (large.tag == (address.value >> kLargeShift)) return rest(large.host, kLargeSize, address);
    const Entry& small = small_[(address.value >> kSmallShift) % small_.size()];
    if (small.tag == (address.value >> kSmallShift)) return rest(small.host, kPageSize, address);
    return translate(address);
  }

  /// Brings the bytes at `address` closer, for a read that comes soon. Memory of guests lies far apart, and
  /// most of what a walk costs is waiting for it: asking for the next objects while one is read hides that.
  void prefetch(VirtualAddress address) {
    if (fetches_) return want(address);
    const auto bytes = view(address);
    if (!bytes.empty()) __builtin_prefetch(bytes.data());
  }

  /// Copies `size` bytes out of the guest, across pages; false, with `destination` undefined, if any is
  /// missing.
  bool read(VirtualAddress address, void* destination, size_t size) {
    const auto bytes = view(address);
    if (bytes.size() >= size) {
      std::memcpy(destination, bytes.data(), size);
      return true;
    }
    return readAcrossPages(address, static_cast<std::byte*>(destination), size);
  }

  template <class T>
  std::optional<T> read(VirtualAddress address) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    if (!read(address, &value, sizeof value)) return std::nullopt;
    return value;
  }

  std::optional<VirtualAddress> readPointer(VirtualAddress address) {
    const auto value = read<uint64_t>(address);
    if (!value) return std::nullopt;
    return VirtualAddress{*value};
  }

  const AddressSpace& space() const { return space_; }

  /// Whether a read of what was not asked for costs a system call.
  bool fetches() const { return fetches_; }

  /// Reads an epoch's copies of the `size` bytes from `address` on anew, with `size` at most a page's.
  void refresh(VirtualAddress address, size_t size);

 private:
  static constexpr int kSmallShift = 12;
  static constexpr int kLargeShift = 21;
  static constexpr uint64_t kLargeSize = uint64_t{1} << kLargeShift;

  // A tag is an address shifted right; none has this value.
  static constexpr uint64_t kNoTag = ~uint64_t{0};
  struct Entry {
    uint64_t tag = kNoTag;
    const std::byte* host = nullptr;
  };

  /// From `address` to the end of its page, whose first byte is at `page`.
  static std::span<const std::byte> rest(const std::byte* page, uint64_t size, VirtualAddress address) {
    const uint64_t offset = address.value & (size - 1);
    return {page + offset, static_cast<size_t>(size - offset)};
  }

  /// A large page of the guest's that its host does not hold in one piece: parts of it were never touched, or
  /// it is copied.
  struct LargePage {
    uint64_t tag = kNoTag;
    PhysicalAddress start{};
  };

  std::optional<PhysicalAddress> physicalOf(VirtualAddress address);
  void want(VirtualAddress address);
  std::span<const std::byte> translate(VirtualAddress address);
  bool readAcrossPages(VirtualAddress address, std::byte* destination, size_t size);

  AddressSpace space_;
  bool fetches_;
  // The direct map and the kernel image are mapped by 2 MiB pages or larger, so a few entries cover what a
  // walk touches; modules, vmalloc and per-CPU memory need the small ones.
  std::array<Entry, 2048> large_;
  std::array<Entry, 1024> small_;
  std::array<LargePage, 512> inPieces_;
};

}  // namespace xfilter
