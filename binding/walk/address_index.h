#pragma once

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

  /// The value of `address`, which is `initial` if it is new; and whether it is. The pointer holds until the
  /// next call.
  std::pair<uint32_t*, bool> insert(VirtualAddress address, uint32_t initial) {
    if ((size_ + 1) * 2 > slots_.size()) grow();
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

  Slot& slotOf(VirtualAddress address) {
    const size_t mask = slots_.size() - 1;
    // The upper bits of the product depend on every bit of the address.
    size_t at = static_cast<size_t>((address.value * key_) >> shift_);
    while (slots_[at].used && slots_[at].address != address) at = (at + 1) & mask;
    return slots_[at];
  }

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    --shift_;
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
