#include "paging/kernel_memory.h"

#include <algorithm>

namespace xfilter {

std::optional<PhysicalAddress> KernelMemory::physicalOf(VirtualAddress address) {
  const LargePage& page = inPieces_[(address.value >> kLargeShift) % inPieces_.size()];
  if (page.tag == address.value >> kLargeShift) return page.start + (address.value & (kLargeSize - 1));
  const auto translation = space_.translate(address);
  if (!translation) return std::nullopt;
  // A large page is cached whole only if the host holds it in one piece: a guest page may straddle the edge
  // of a memory range, too.
  if (translation->pageSize >= kLargeSize) {
    const PhysicalAddress start{translation->physical.value - (address.value & (kLargeSize - 1))};
    const auto run = fetches_ ? std::span<const std::byte>{} : space_.memory().view(start);
    if (run.size() >= kLargeSize) {
      large_[(address.value >> kLargeShift) % large_.size()] = {address.value >> kLargeShift, run.data()};
    } else {
      inPieces_[(address.value >> kLargeShift) % inPieces_.size()] = {address.value >> kLargeShift, start};
    }
  }
  return translation->physical;
}

void KernelMemory::want(VirtualAddress address) {
  if (small_[(address.value >> kSmallShift) % small_.size()].tag == address.value >> kSmallShift) return;
  if (const auto physical = physicalOf(address)) space_.memory().want(*physical);
}

void KernelMemory::refresh(VirtualAddress address, size_t size) {
  if (!fetches_ || size == 0) return;
  for (const VirtualAddress at : {address, address + (size - 1)}) {
    if (at != address && (at.value ^ address.value) < kPageSize) continue;
    if (const auto physical = physicalOf(at)) space_.memory().refresh(*physical);
  }
}

std::span<const std::byte> KernelMemory::translate(VirtualAddress address) {
  const auto physical = physicalOf(address);
  if (!physical) return {};
  const Entry& large = large_[(address.value >> kLargeShift) % large_.size()];
  if (large.tag == address.value >> kLargeShift) return rest(large.host, kLargeSize, address);
  const auto run = space_.memory().view({physical->value & ~(kPageSize - 1)});
  if (run.size() < kPageSize) return {};
  if (run.data() == kHole.data()) return run.subspan(address.value % kPageSize);
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
