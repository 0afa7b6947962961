#include "kernel/types.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel/kernel_space.h"
#include "memory/mapped_file.h"

namespace xfilter {
namespace {

constexpr uint64_t kMaxBtf = 64 << 20;
constexpr uint64_t kLargePage = 2 << 20;
constexpr char kSupply[] =
    "Give the BTF of exactly this kernel as a file (types.btf, --types-btf): /sys/kernel/btf/vmlinux of a "
    "machine that "
    "runs it, or one made from its debug package with `pahole --btf_encode_detached`.";

Result<Btf> copyBtf(KernelMemory& memory, VirtualAddress start, uint64_t size) {
  std::vector<std::byte> blob(size);
  if (!memory.read(start, blob.data(), blob.size())) {
    return failure("TYPES_INVALID", "The kernel's BTF is not all in the image.", kSupply);
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

Result<Types> scanForTypes(KernelMemory& memory, VirtualAddress imageStart) {
  const VirtualAddress imageEnd = kKernelImageBase + kKernelImageSize;
  std::optional<Error> lastError;
  for (VirtualAddress at = imageStart; at < imageEnd;) {
    auto bytes = memory.view(at);
    if (bytes.empty()) {
      at = {(at.value + kLargePage) & ~(kLargePage - 1)};
      continue;
    }
    bytes = bytes.first(std::min<uint64_t>(bytes.size(), imageEnd.value - at.value));
    const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
    const auto* hit = std::search(data, data + bytes.size(), kMagic.begin(), kMagic.end());
    if (hit == data + bytes.size()) {
      // The magic may straddle the edge of two pages only if BTF were not aligned to 4 bytes, which it is.
      at = at + bytes.size();
      continue;
    }
    at = at + static_cast<uint64_t>(hit - data);
    const auto header = memory.read<BtfHeader>(at);
    if (header && header->typeSize > 0 && header->stringSize > 0 && header->blobSize() <= kMaxBtf) {
      auto btf = copyBtf(memory, at, header->blobSize());
      if (btf && btf->sizeOf("task_struct"))
        return Types{std::move(*btf), "BTF found by a scan of the kernel's image"};
    }
    at = at + kMagic.size();
  }
  return failure("TYPES_NOT_FOUND",
                 "The kernel carries no BTF types (CONFIG_DEBUG_INFO_BTF=n, or before 5.2).", kSupply);
}

}  // namespace

Result<Types> typesOfGuest(KernelMemory& memory, const Symbols& symbols, VirtualAddress imageStart) {
  if (symbols.start_btf && symbols.stop_btf && *symbols.start_btf < *symbols.stop_btf) {
    const uint64_t size = symbols.stop_btf->value - symbols.start_btf->value;
    if (size <= kMaxBtf) {
      if (auto btf = copyBtf(memory, *symbols.start_btf, size)) {
        return Types{std::move(*btf), "the guest's own BTF, by __start_BTF"};
      }
    }
  }
  return scanForTypes(memory, imageStart);
}

Result<Types> typesOfFile(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(file.error());
  const auto bytes = (*file)->bytes();
  if (bytes.size() > kMaxBtf) {
    return failure(
        "TYPES_INVALID", path + " is too large for a BTF file.",
        "Give the raw BTF, not the vmlinux that holds it: `pahole --btf_encode_detached` extracts it.");
  }
  auto btf = Btf::parse({bytes.begin(), bytes.end()});
  if (!btf) return failure(btf.error().code, path + ": " + btf.error().message, btf.error().advice);
  return Types{std::move(*btf), path};
}

}  // namespace xfilter
