#pragma once

#include <bit>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "memory/address.h"

namespace xfilter {

/// Guest addresses → 32-bit values: open addressing, since the walk asks for each open file. The hash is
/// keyed at random, so that a guest cannot choose addresses that collide.
class AddressIndex {
 public:
  AddressIndex() : slots_(size_t{1} << kInitialBits) {}

  /// Makes room for `more` addresses at once, which is cheaper than to grow step by step.
  void reserve(size_t more) {
    if ((size_ + more) * 2 > slots_.size()) growTo(std::bit_ceil((size_ + more) * 2));
  }

  /// Brings the place of `address` closer, for an insert that comes soon: a large index lies in far memory.
  void prefetch(VirtualAddress address) const { __builtin_prefetch(&slots_[home(address)]); }

  /// The value of `address`, which is `initial` if it is new; and whether it is. The pointer holds until the
  /// next call.
  std::pair<uint32_t*, bool> insert(VirtualAddress address, uint32_t initial) {
    if ((size_ + 1) * 2 > slots_.size()) growTo(slots_.size() * 2);
    Slot& slot = slotOf(address);
    if (slot.used) return {&slot.value, false};
    slot = {address, initial, true};
    ++size_;
    return {&slot.value, true};
  }

  bool contains(VirtualAddress address) { return slotOf(address).used; }

 private:
  static constexpr int kInitialBits = 10;
  struct Slot {
    VirtualAddress address;
    uint32_t value = 0;
    bool used = false;
  };

  // The upper bits of the product depend on every bit of the address.
  size_t home(VirtualAddress address) const { return static_cast<size_t>((address.value * key_) >> shift_); }

  Slot& slotOf(VirtualAddress address) {
    const size_t mask = slots_.size() - 1;
    size_t at = home(address);
    while (slots_[at].used && slots_[at].address != address) at = (at + 1) & mask;
    return slots_[at];
  }

  void growTo(size_t slots) {
    std::vector<Slot> old(slots);
    shift_ = 64 - std::countr_zero(slots);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.used) slotOf(slot.address) = slot;
    }
  }

  static uint64_t randomKey() {
    static const uint64_t key = (uint64_t{std::random_device{}()} << 32 | std::random_device{}()) | 1;
    return key;
  }

  std::vector<Slot> slots_;
  int shift_ = 64 - kInitialBits;
  size_t size_ = 0;
  uint64_t key_ = randomKey();
};

}  // namespace xfilter
