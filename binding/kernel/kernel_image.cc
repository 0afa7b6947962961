#include "kernel/kernel_image.h"

#include <algorithm>
#include <cstring>

namespace xfilter {
namespace {

// Where a kernel without KASLR begins: CONFIG_PHYSICAL_START, which distributions leave at its default.
constexpr VirtualAddress kLinkedStart = kKernelImageBase + (uint64_t{16} << 20);
constexpr uint64_t kImageAlignment = uint64_t{2} << 20;
constexpr std::string_view kBannerStart = "Linux version ";
constexpr size_t kMaxBanner = 512;
constexpr size_t kMaxBanners = 16;
// How much is searched before the budget is looked at.
constexpr uint64_t kPiece = uint64_t{4} << 20;

/// "Linux version RELEASE (BUILDER) (COMPILER) #NUMBER …\n" and a NUL.
bool isBanner(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kMaxBanner));
  const size_t end = text.find('\n');
  return end != std::string_view::npos && end + 1 < text.size() && text[end + 1] == '\0' &&
         !releaseOfBanner(text.substr(0, end)).empty();
}

/// The guest's bytes from `start` on, at most two banners long: across pieces of host memory.
std::vector<std::byte> copyAcross(const PhysicalMemory& memory, PhysicalAddress start, uint64_t size) {
  std::vector<std::byte> copy;
  while (copy.size() < size) {
    const auto bytes = memory.view(start + copy.size());
    if (bytes.empty()) break;
    copy.insert(copy.end(), bytes.begin(),
                bytes.begin() + std::min<uint64_t>(bytes.size(), size - copy.size()));
  }
  return copy;
}

/// Appends the banners that begin in the first `size` of the guest's bytes, which begin at `address`.
void findBanners(std::span<const std::byte> bytes, uint64_t size, VirtualAddress address, Budget& budget,
                 std::vector<VirtualAddress>& banners) {
  const size_t end = std::min<uint64_t>(bytes.size(), size + kBannerStart.size() - 1);
  for (size_t at = 0; at < end && banners.size() < kMaxBanners && budget.spend();) {
    const void* hit = memmem(bytes.data() + at, end - at, kBannerStart.data(), kBannerStart.size());
    if (!hit) return;
    at = static_cast<size_t>(static_cast<const std::byte*>(hit) - bytes.data());
    if (isBanner(bytes.subspan(at))) banners.push_back(address + at);
    at += kBannerStart.size();
  }
}

}  // namespace

std::string_view releaseOfBanner(std::string_view banner) {
  if (!banner.starts_with(kBannerStart)) return {};
  banner.remove_prefix(kBannerStart.size());
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (!std::all_of(banner.begin(), banner.end(), printable)) return {};
  const size_t end = banner.find(' ');
  return end == std::string_view::npos ? std::string_view() : banner.substr(0, end);
}

std::optional<KernelImage> findKernelImage(const AddressSpace& space, Budget& budget) {
  const VirtualAddress areaEnd = kKernelImageBase + kKernelImageSize;
  KernelImage image;
  uint64_t moved = 0;  // from virtual to physical
  const auto mapped = [&](VirtualAddress at) {
    const auto translation = space.translate(at);
    return translation && translation->physical.value == at.value + moved ? translation->pageSize : 0;
  };

  for (VirtualAddress at = kKernelImageBase; !image.start && at < areaEnd; at = at + kImageAlignment) {
    const auto translation = space.translate(at);
    if (!translation) continue;
    image.start = at;
    moved = translation->physical.value - at.value;
  }
  // What maps the area from its very beginning is not a kernel's table but one that it was started with: it
  // unmaps what lies below its image (cleanup_highmap).
  if (!image.start || image.start == kKernelImageBase) return std::nullopt;
  image.physBase = static_cast<int64_t>(moved + kKernelImageBase.value);
  image.kaslrOffset = image.start.value - kLinkedStart.value;

  // The image has holes (what the kernel needed to start was given back), and modules lie behind it.
  for (VirtualAddress at = image.start;
       at < areaEnd && image.banners.size() < kMaxBanners && budget.spend();) {
    uint64_t size = 0;
    while (at.value + size < areaEnd.value && budget.spend()) {
      const uint64_t page = mapped(at + size);
      if (page == 0) break;
      size += page - (at.value + size) % page;
    }
    if (size == 0) {
      at = {(at.value | (kPageSize - 1)) + 1};
      continue;
    }
    for (uint64_t done = 0; done < size && budget.spendLong();) {
      const auto bytes = space.memory().view({at.value + done + moved});
      if (bytes.empty()) {
        done += kPageSize;
        continue;
      }
      const uint64_t left = size - done;
      const uint64_t piece = std::min<uint64_t>(bytes.size(), left);
      // A banner may begin at the end of a piece of host memory and go on in the next.
      const uint64_t seam = piece < left ? std::min<uint64_t>(piece, kMaxBanner) : 0;
      const uint64_t part = std::min(piece - seam, kPiece);
      if (part > 0) {
        findBanners(bytes.first(piece), part, at + done, budget, image.banners);
        done += part;
      } else {
        const auto copy = copyAcross(space.memory(), {at.value + done + moved}, seam + kMaxBanner);
        findBanners(copy, seam, at + done, budget, image.banners);
        done += seam;
      }
    }
    at = at + size;
  }
  if (image.banners.empty()) return std::nullopt;
  return image;
}

}  // namespace xfilter
