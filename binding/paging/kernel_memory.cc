#include "paging/kernel_memory.h"

#include <algorithm>

namespace xfilter {

void KernelMemory::want(VirtualAddress address) {
  if (small_[(address.value >> kSmallShift) % small_.size()].tag == address.value >> kSmallShift) return;
  if (const auto translation = space_.translate(address)) space_.memory().want(translation->physical);
}

void KernelMemory::refresh(VirtualAddress address, size_t size) {
  if (!copies_ || size == 0) return;
  for (const VirtualAddress at : {address, address + (size - 1)}) {
    if (at != address && (at.value ^ address.value) < kPageSize) continue;
    if (const auto translation = space_.translate(at)) space_.memory().refresh(translation->physical);
  }
}

std::span<const std::byte> KernelMemory::translate(VirtualAddress address) {
  const auto translation = space_.translate(address);
  if (!translation) return {};

  // A large page is cached whole only if the host holds it in one piece: a guest page may straddle the edge
  // of a memory range.
  if (translation->pageSize >= kLargeSize) {
    const uint64_t offset = address.value & (kLargeSize - 1);
    const auto run = space_.memory().view({translation->physical.value - offset});
    if (run.size() >= kLargeSize) {
      large_[(address.value >> kLargeShift) % large_.size()] = {address.value >> kLargeShift, run.data()};
      return rest(run.data(), kLargeSize, address);
    }
  }

  const uint64_t offset = address.value & (kPageSize - 1);
  const auto run = space_.memory().view({translation->physical.value - offset});
  if (run.size() < kPageSize) return {};
  small_[(address.value >> kSmallShift) % small_.size()] = {address.value >> kSmallShift, run.data()};
  return rest(run.data(), kPageSize, address);
}

bool KernelMemory::readAcrossPages(VirtualAddress address, std::byte* destination, size_t size) {
  while (size > 0) {
    const auto bytes = view(address);
    if (bytes.empty()) return false;
    const size_t part = std::min(size, bytes.size());
    std::memcpy(destination, bytes.data(), part);
    address = address + part;
    destination += part;
    size -= part;
  }
  return true;
}

}  // namespace xfilter
