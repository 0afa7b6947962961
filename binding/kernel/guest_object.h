#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "kernel/type_source.h"
#include "paging/kernel_memory.h"

namespace xfilter {

/// A structure in the guest's memory, for reading its members: each once, into a host variable, and never
/// again, since the guest can change it between two reads. A member that cannot be read is 0 and clears
/// `ok()`, which its reader asks when it has all that it wants.
class GuestObject {
 public:
  GuestObject(KernelMemory& memory, VirtualAddress address)
      : memory_(&memory), address_(address), bytes_(memory.view(address)), ok_(!bytes_.empty()) {}

  bool ok() const { return ok_; }
  VirtualAddress address() const { return address_; }

  /// The bytes at [offset, offset + size), copied to `destination`.
  void copy(uint64_t offset, void* destination, size_t size) {
    if (offset <= bytes_.size() && bytes_.size() - offset >= size) {
      std::memcpy(destination, bytes_.data() + offset, size);
    } else if (!memory_->read(address_ + offset, destination, size)) {
      std::memset(destination, 0, size);
      ok_ = false;
    }
  }

  /// An integer of 1 to 8 bytes at `offset`, zero-extended.
  uint64_t integer(uint64_t offset, uint32_t size) {
    // Of a size that the compiler knows, a copy is one load.
    switch (size) {
      case 8:
        return load<uint64_t>(offset);
      case 4:
        return load<uint32_t>(offset);
      case 2:
        return load<uint16_t>(offset);
      case 1:
        return load<uint8_t>(offset);
      default:
        break;
    }
    uint64_t value = 0;
    if (size >= 1 && size <= sizeof value) {
      copy(offset, &value, size);
    } else {
      ok_ = false;
    }
    return value;
  }

  /// An integer member or a bit-field. Enclosing one-member structures (kuid_t, possible_net_t) read as it.
  uint64_t integer(const Field& field) {
    const uint64_t value = integer(field.offset, field.size);
    if (field.bits == 0) return value;
    return (value >> field.bitShift) & (~uint64_t{0} >> (64 - field.bits));
  }

  uint32_t integer32(const Field& field) { return static_cast<uint32_t>(integer(field)); }

  VirtualAddress pointer(const Field& field) { return {integer(field.offset, sizeof(uint64_t))}; }

 private:
  template <class T>
  T load(uint64_t offset) {
    T value;
    copy(offset, &value, sizeof value);
    return value;
  }

  KernelMemory* memory_;
  VirtualAddress address_;
  std::span<const std::byte> bytes_;
  bool ok_;
};

}  // namespace xfilter
