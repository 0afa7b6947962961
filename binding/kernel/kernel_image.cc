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

/// From `at` to the end of its page, the bytes of an image all of which lies in memory moved by `moved`, or
/// scattered if there is no such distance; empty where there is nothing of it.
std::span<const std::byte> imageBytes(const AddressSpace& space, std::optional<uint64_t> moved,
                                      VirtualAddress at) {
  const auto translation = space.translate(at);
  if (!translation || (moved && translation->physical.value != at.value + *moved)) return {};
  const auto bytes = space.memory().view(translation->physical);
  const uint64_t left = translation->pageSize - at.value % translation->pageSize;
  return bytes.first(std::min<uint64_t>({bytes.size(), left, kPiece}));
}

/// The same across pages.
std::vector<std::byte> copyAcross(const AddressSpace& space, std::optional<uint64_t> moved,
                                  VirtualAddress start, uint64_t size) {
  std::vector<std::byte> copy;
  while (copy.size() < size) {
    const auto bytes = imageBytes(space, moved, start + copy.size());
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
  std::optional<uint64_t> moved;  // from virtual to physical
  for (VirtualAddress at = kKernelImageBase; !image.start && at < areaEnd; at = at + kImageAlignment) {
    const auto translation = space.translate(at);
    if (!translation) continue;
    image.start = at;
    if (!space.memory().scattered()) moved = translation->physical.value - at.value;
  }
  // What maps the area from its very beginning is not a kernel's table but one that it was started with: it
  // unmaps what lies below its image (cleanup_highmap).
  if (!image.start || image.start == kKernelImageBase) return std::nullopt;
  if (moved) image.physBase = static_cast<int64_t>(*moved + kKernelImageBase.value);
  image.kaslrOffset = image.start.value - kLinkedStart.value;

  // The image has holes (what the kernel needed to start was given back), and modules lie behind it.
  for (VirtualAddress at = image.start;
       at < areaEnd && image.banners.size() < kMaxBanners && budget.spend();) {
    const auto bytes = imageBytes(space, moved, at);
    if (bytes.empty()) {
      at = {(at.value | (kPageSize - 1)) + 1};
      continue;
    }
    if (!budget.spendLong()) break;
    // A banner may begin at the end of a piece of host memory and go on in the next.
    const uint64_t seam = std::min<uint64_t>(bytes.size(), kMaxBanner);
    const VirtualAddress last = at + (bytes.size() - seam);
    findBanners(bytes, bytes.size() - seam, at, budget, image.banners);
    findBanners(copyAcross(space, moved, last, seam + kMaxBanner), seam, last, budget, image.banners);
    at = at + bytes.size();
  }
  if (image.banners.empty()) return std::nullopt;
  return image;
}

}  // namespace xfilter
