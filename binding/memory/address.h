#pragma once

#include <compare>
#include <cstdint>

namespace xfilter {

/// A guest-physical address, as page tables hold it: of a paravirtual guest of Xen, one of the machine. A
/// type of its own, so that it never passes for a virtual one.
struct PhysicalAddress {
  uint64_t value = 0;

  friend constexpr auto operator<=>(PhysicalAddress, PhysicalAddress) = default;
  friend constexpr PhysicalAddress operator+(PhysicalAddress base, uint64_t offset) {
    return {base.value + offset};
  }
};

/// An address in the guest kernel's own address space. Arithmetic wraps, as the guest's would: whoever
/// dereferences the result finds out whether it is mapped.
struct VirtualAddress {
  uint64_t value = 0;

  friend constexpr auto operator<=>(VirtualAddress, VirtualAddress) = default;
  friend constexpr VirtualAddress operator+(VirtualAddress base, uint64_t offset) {
    return {base.value + offset};
  }
  friend constexpr VirtualAddress operator-(VirtualAddress base, uint64_t offset) {
    return {base.value - offset};
  }
  explicit constexpr operator bool() const { return value != 0; }
};

inline constexpr uint64_t kPageSize = 4096;

}  // namespace xfilter
