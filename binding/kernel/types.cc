#include "kernel/types.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel/given.h"
#include "kernel/kernel_space.h"

namespace xfilter {
namespace {

constexpr uint64_t kMaxBtf = 64 << 20;
// Of what begins as BTF does: a kernel's image has one, and those of its modules lie elsewhere.
constexpr int kMaxTries = 16;

/// Whether there is memory at all of [start, start + size).
bool isMapped(KernelMemory& memory, VirtualAddress start, uint64_t size) {
  for (uint64_t at = 0; at < size;) {
    const auto bytes = memory.view(start + at);
    if (bytes.empty()) return false;
    at += bytes.size();
  }
  return true;
}

Result<Btf> copyBtf(KernelMemory& memory, VirtualAddress start, uint64_t size) {
  // Before room is made for what the guest only claims.
  std::vector<std::byte> blob(isMapped(memory, start, size) ? size : 0);
  if (blob.empty() || !memory.read(start, blob.data(), blob.size())) {
    return failure("TYPES_INVALID", "The kernel's BTF is not all in the image.", kSupplyTypes);
  }
  return Btf::parse(std::move(blob));
}

// struct btf_header, as far as it is needed to tell where a blob ends: magic, version, flags, then hdr_len,
// type_off, type_len, str_off, str_len.
struct BtfHeader {
  std::array<uint8_t, 4> magic;
  uint32_t headerSize, typeOffset, typeSize, stringOffset, stringSize;

  uint64_t blobSize() const {
    return headerSize + std::max(uint64_t{typeOffset} + typeSize, uint64_t{stringOffset} + stringSize);
  }
};
constexpr std::array<uint8_t, 4> kMagic = {0x9f, 0xeb, 1, 0};

Result<Types> scanForTypes(KernelMemory& memory, VirtualAddress imageStart, Budget& budget) {
  const VirtualAddress imageEnd = kKernelImageBase + kKernelImageSize;
  int tries = 0;
  for (VirtualAddress at = imageStart; at < imageEnd && tries < kMaxTries && budget.spend();) {
    auto bytes = memory.view(at);
    if (bytes.empty()) {
      at = {(at.value + kPageSize) & ~(kPageSize - 1)};
      continue;
    }
    bytes = bytes.first(std::min<uint64_t>(bytes.size(), imageEnd.value - at.value));
    const void* hit = memmem(bytes.data(), bytes.size(), kMagic.data(), kMagic.size());
    if (!hit) {
      // The magic may straddle the edge of two pages only if BTF were not aligned to 4 bytes, which it is.
      at = at + bytes.size();
      continue;
    }
    at = at + static_cast<uint64_t>(static_cast<const std::byte*>(hit) - bytes.data());
    const auto header = memory.read<BtfHeader>(at);
    if (header && header->typeSize > 0 && header->stringSize > 0 && header->blobSize() <= kMaxBtf) {
      if (!budget.spendLong()) break;
      ++tries;
      auto btf = copyBtf(memory, at, header->blobSize());
      if (btf && btf->sizeOf("task_struct"))
        return Types{std::move(*btf), "BTF found by a scan of the kernel's image"};
    }
    at = at + kMagic.size();
  }
  return failure("TYPES_NOT_FOUND",
                 "The kernel carries no BTF types (CONFIG_DEBUG_INFO_BTF=n, or before 5.2).", kSupplyTypes);
}

}  // namespace

Result<Types> typesOfGuest(KernelMemory& memory, const Symbols& symbols, VirtualAddress imageStart,
                           Budget& budget) {
  if (symbols.start_btf && symbols.stop_btf && *symbols.start_btf < *symbols.stop_btf) {
    const uint64_t size = symbols.stop_btf->value - symbols.start_btf->value;
    if (size <= kMaxBtf) {
      if (auto btf = copyBtf(memory, *symbols.start_btf, size)) {
        return Types{std::move(*btf), "the guest's own BTF, by __start_BTF"};
      }
    }
  }
  return scanForTypes(memory, imageStart, budget);
}

}  // namespace xfilter
