#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "memory/physical_memory.h"
#include "paging/kernel_memory.h"
#include "paging/x86_64.h"

namespace xfilter::test {

/// Physical memory made of ranges with holes between them. A range is one piece in the host's memory.
class FakeMemory final : public PhysicalMemory {
 public:
  /// Adds zeroed memory. The bytes stay where they are as long as this object lives.
  std::span<std::byte> add(PhysicalAddress start, uint64_t size) {
    pieces_.push_back({{start, size}, std::make_unique<std::byte[]>(size)});
    const std::span<std::byte> bytes(pieces_.back().bytes.get(), size);
    std::sort(pieces_.begin(), pieces_.end(),
              [](const Piece& a, const Piece& b) { return a.range.start < b.range.start; });
    ranges_.clear();
    for (const Piece& piece : pieces_) ranges_.push_back(piece.range);
    return bytes;
  }

  /// The same bytes as `view`, for the test to write to.
  std::span<std::byte> bytes(PhysicalAddress address) const {
    for (const Piece& piece : pieces_) {
      if (address < piece.range.start || address >= piece.range.start + piece.range.size) continue;
      const uint64_t offset = address.value - piece.range.start.value;
      return {piece.bytes.get() + offset, static_cast<size_t>(piece.range.size - offset)};
    }
    return {};
  }

  std::span<const std::byte> view(PhysicalAddress address) const override {
    if (onView) onView(address);
    return bytes(address);
  }
  std::span<const MemoryRange> ranges() const override { return ranges_; }
  MemoryRange nextStored(PhysicalAddress address) const override {
    for (const MemoryRange& range : ranges_) {
      if (range.start + range.size <= address) continue;
      const PhysicalAddress start = std::max(range.start, address);
      return {start, range.size - (start.value - range.start.value)};
    }
    return {};
  }
  void release(MemoryRange) const override {}
  std::string_view vmcoreinfoNote() const override { return note; }
  std::vector<VcpuRegisters> vcpus() const override { return registers; }
  std::string_view format() const override { return "fake"; }
  Result<void> intact() const override { return {}; }

  bool live() const override { return isLive; }
  bool fetches() const override { return isCopied; }
  bool scattered() const override { return isScattered; }
  std::unique_ptr<PhysicalMemory> epoch(size_t pass) const override;

  std::string_view note;
  /// A guest that runs: it does something whenever a pass over it begins (the first one is 1), or a page is
  /// looked at.
  bool isLive = false;
  /// Whether its addresses are a machine's, as those of a paravirtual guest are.
  bool isScattered = false;
  /// Whether it is read through epochs, which copy a page when it is first looked at.
  bool isCopied = false;
  std::function<void(int epoch)> onEpoch;
  std::function<void(PhysicalAddress)> onView;
  std::vector<VcpuRegisters> registers;

 private:
  struct Piece {
    MemoryRange range;
    std::unique_ptr<std::byte[]> bytes;
  };

  std::vector<Piece> pieces_;
  std::vector<MemoryRange> ranges_;
  mutable int epochs_ = 0;
};

/// An epoch of a FakeMemory.
class FakeCopies final : public PhysicalMemory {
 public:
  explicit FakeCopies(const FakeMemory& memory) : memory_(memory) {}

  std::span<const std::byte> view(PhysicalAddress address) const override {
    const uint64_t page = address.value / kPageSize;
    if (!pages_.contains(page)) {
      const auto bytes = memory_.view({page * kPageSize});
      if (bytes.empty()) return {};
      pages_[page].assign(bytes.begin(), bytes.begin() + kPageSize);
    }
    return std::span<const std::byte>(pages_[page]).subspan(address.value % kPageSize);
  }
  void refresh(PhysicalAddress address) const override {
    const uint64_t page = address.value / kPageSize;
    const auto copy = pages_.find(page);
    if (copy == pages_.end()) return;
    const auto bytes = memory_.bytes({page * kPageSize});
    std::copy(bytes.begin(), bytes.begin() + kPageSize, copy->second.begin());
  }
  bool live() const override { return true; }
  bool fetches() const override { return true; }
  std::span<const MemoryRange> ranges() const override { return memory_.ranges(); }
  MemoryRange nextStored(PhysicalAddress address) const override { return memory_.nextStored(address); }
  void release(MemoryRange) const override {}
  std::string_view format() const override { return memory_.format(); }
  Result<void> intact() const override { return {}; }

 private:
  const FakeMemory& memory_;
  mutable std::map<uint64_t, std::vector<std::byte>> pages_;
};

inline std::unique_ptr<PhysicalMemory> FakeMemory::epoch(size_t /*pass*/) const {
  if (onEpoch) onEpoch(++epochs_);
  if (!isCopied) return nullptr;
  return std::make_unique<FakeCopies>(*this);
}

/// A guest with real x86_64 page tables: what a test maps, the code under test finds by walking them.
///
///     FakeGuest guest;
///     guest.map({0xffffffff81000000}, bytes);        // copies them into pages of the guest
///     guest.write<uint32_t>({0xffffffff81000010}, 7); // changes what is mapped
///     KernelMemory memory(guest.space());
///
/// What is not mapped is a hole. Pages and tables come from RAM that grows on demand from 1 MiB on;
/// `memory()` takes more ranges, for `mapPage` to lead to.
class FakeGuest {
 public:
  static constexpr uint64_t kPresent = 1;
  static constexpr uint64_t kLargePage = 1 << 7;

  explicit FakeGuest(int levels = 4) : levels_(levels), root_(allocate(kPageSize)) {}
  FakeGuest(const FakeGuest&) = delete;
  FakeGuest& operator=(const FakeGuest&) = delete;

  AddressSpace space() const { return {memory_, root_, levels_}; }
  FakeMemory& memory() { return memory_; }
  PhysicalAddress root() const { return root_; }

  /// Copies `bytes` to `address`, in new 4 KiB pages where nothing is mapped yet. What else is in those is
  /// zero.
  void map(VirtualAddress address, std::span<const std::byte> bytes) {
    reserve(address, bytes.size());
    write(address, bytes);
  }

  /// Maps zeroed memory, in 4 KiB pages.
  void reserve(VirtualAddress address, uint64_t size) {
    const VirtualAddress first{address.value & ~(kPageSize - 1)};
    const uint64_t pages = (address.value - first.value + size + kPageSize - 1) / kPageSize;
    for (uint64_t i = 0; i < pages; ++i) {
      const VirtualAddress page = first + i * kPageSize;
      if (!space().translate(page)) mapPage(page, allocate(kPageSize));
    }
  }

  /// Maps one page, of 4 KiB, 2 MiB or 1 GiB, to physical memory that need not exist.
  void mapPage(VirtualAddress page, PhysicalAddress frame, uint64_t pageSize = kPageSize) {
    const int level = pageSize == kPageSize ? 1 : pageSize == uint64_t{1} << 21 ? 2 : 3;
    setEntry(page, level, frame.value | kPresent | (level > 1 ? kLargePage : 0));
  }

  /// Writes the page-table entry of `level` (1: page table … 4: PML4, 5) that leads to `address`. Tables
  /// above it are made if there are none.
  void setEntry(VirtualAddress address, int level, uint64_t entry) {
    PhysicalAddress table = root_;
    for (int at = levels_; at > level; --at) {
      const PhysicalAddress slot = slotOf(table, address, at);
      uint64_t next = read(slot);
      if (!(next & kPresent)) {
        next = allocate(kPageSize).value | kPresent;
        store(slot, next);
      }
      table = {next & 0x000f'ffff'ffff'f000};
    }
    store(slotOf(table, address, level), entry);
  }

  void unmap(VirtualAddress page) { setEntry(page, 1, 0); }

  /// Changes bytes that are mapped.
  void write(VirtualAddress address, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto to = at(address);
      const size_t part = std::min({bytes.size(), to.size(), size_t{kPageSize - address.value % kPageSize}});
      std::memcpy(to.data(), bytes.data(), part);
      address = address + part;
      bytes = bytes.subspan(part);
    }
  }
  template <class T>
  requires std::is_trivially_copyable_v<T>
  void write(VirtualAddress address, const T& value) { write(address, std::as_bytes(std::span(&value, 1))); }

  uint64_t read(VirtualAddress address) {
    uint64_t value = 0;
    std::memcpy(&value, at(address).data(), sizeof value);
    return value;
  }

  /// The mapped bytes from `address` to the end of its page.
  std::span<std::byte> at(VirtualAddress address) {
    const auto translation = space().translate(address);
    if (!translation) return {};
    const auto bytes = memory_.bytes(translation->physical);
    const uint64_t left = translation->pageSize - (address.value & (translation->pageSize - 1));
    return bytes.first(static_cast<size_t>(std::min<uint64_t>(left, bytes.size())));
  }

  /// Zeroed guest memory, aligned to its size (a power of two, at most 2 MiB).
  PhysicalAddress allocate(uint64_t size) {
    next_ = (next_ + size - 1) & ~(size - 1);
    if (next_ + size > end_) {
      memory_.add({end_}, kChunk);
      end_ += kChunk;
    }
    const PhysicalAddress frame{next_};
    next_ += size;
    return frame;
  }

 private:
  static constexpr uint64_t kChunk = uint64_t{4} << 20;

  static PhysicalAddress slotOf(PhysicalAddress table, VirtualAddress address, int level) {
    return table + ((address.value >> (12 + 9 * (level - 1))) & 511) * sizeof(uint64_t);
  }
  uint64_t read(PhysicalAddress address) const {
    uint64_t value = 0;
    std::memcpy(&value, memory_.bytes(address).data(), sizeof value);
    return value;
  }
  void store(PhysicalAddress address, uint64_t value) {
    std::memcpy(memory_.bytes(address).data(), &value, sizeof value);
  }

  FakeMemory memory_;
  uint64_t next_ = uint64_t{1} << 20;
  uint64_t end_ = uint64_t{1} << 20;
  int levels_;
  PhysicalAddress root_;
};

inline std::span<const std::byte> bytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace xfilter::test
