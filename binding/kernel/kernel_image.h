#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "memory/budget.h"
#include "paging/x86_64.h"

namespace xfilter {

/// Where x86_64 maps the kernel's image, before KASLR, and how long that area is
/// (Documentation/arch/x86/x86_64/mm.rst).
inline constexpr VirtualAddress kKernelImageBase{0xffff'ffff'8000'0000};
inline constexpr uint64_t kKernelImageSize = uint64_t{1} << 30;

constexpr bool isInKernelImage(VirtualAddress address) {
  return address.value - kKernelImageBase.value < kKernelImageSize;
}

/// A kernel's image as page tables show it, found without its own word for it.
struct KernelImage {
  VirtualAddress start;  // the first mapped page: _text
  int64_t physBase = 0;  // 0 where the image is scattered
  uint64_t kaslrOffset = 0;
  /// Where texts lie that look as `linux_banner` does. One of them is it, which the symbol table decides.
  std::vector<VirtualAddress> banners;
};

/// The image that an address space maps: pages from `start` on that lie in physical memory as they do in
/// virtual, or anywhere in one that is scattered, with at least one banner among them. Empty if there is
/// none.
std::optional<KernelImage> findKernelImage(const AddressSpace& space, Budget& budget);

/// "6.1.0-18-amd64" of "Linux version 6.1.0-18-amd64 (…) …"; empty if the text is no banner.
std::string_view releaseOfBanner(std::string_view banner);

}  // namespace xfilter
