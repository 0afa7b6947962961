#include "kernel/attach_image.h"

#include <chrono>
#include <cstring>

#include "kernel/raw_layout.h"

namespace xfilter {
namespace {

using Clock = std::chrono::steady_clock;

Result<AttachedGuest> attachTo(std::unique_ptr<Image> image, std::string how, Clock::duration opened,
                               const KernelOptions& options, Budget& budget) {
  auto kernel = findKernel(*image, options, budget);
  if (const auto intact = image->intact(); !intact) return tl::unexpected(intact.error());
  if (!kernel) return tl::unexpected(kernel.error());
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(opened).count();
  const auto ranges = image->ranges().size();
  kernel->steps.insert(kernel->steps.begin(), {"memory", std::move(how),
                                               std::to_string(ranges) + (ranges == 1 ? " range" : " ranges"),
                                               static_cast<uint64_t>(nanoseconds)});
  return AttachedGuest{std::move(image), std::move(*kernel)};
}

/// Up to this size, no hypervisor's guest has a hole in its memory.
constexpr uint64_t kAlwaysOnePiece = uint64_t{2} << 30;

/// A raw file that may have a hole: by each likely layout, until the kernel found by it agrees.
Result<AttachedGuest> attachToLargeRaw(const ImageOptions& options, uint64_t size,
                                       const KernelOptions& kernelOptions, Budget& budget) {
  std::optional<Error> error;
  bool disagreed = false;
  for (const RawLayout& layout : likelyRawLayouts(size)) {
    const auto start = Clock::now();
    auto image = Image::open(options.path, layout.map(size));
    if (!image) return tl::unexpected(image.error());
    auto guest = attachTo(std::move(*image), "raw file, by its content; " + layout.describe(),
                          Clock::now() - start, kernelOptions, budget);
    if (!guest && !budget.spendLong()) return guest;
    if (guest && (!guest->kernel.ramEnd || layout.fits(size, *guest->kernel.ramEnd))) return guest;
    disagreed = disagreed || guest.has_value();
    // An error that a kernel was found for says more than that there is none.
    if (!guest && (!error || std::strcmp(error->code, "KERNEL_NOT_FOUND") == 0)) error = guest.error();
  }
  // Where a kernel was found, and disagrees, it would be a lie that there is none.
  const bool lies = error && disagreed && std::strcmp(error->code, "KERNEL_NOT_FOUND") == 0;
  if (error && !lies) return tl::unexpected(*error);
  return failure("SOURCE_FORMAT",
                 "The guest's memory lies in " + options.path + " in an order that is not known.",
                 "Say how by memoryMap (--memory-map), or take an ELF core, which carries the addresses.");
}

}  // namespace

Result<AttachedGuest> attachImage(const ImageOptions& options, const KernelOptions& kernelOptions,
                                  Budget& budget) {
  const auto start = Clock::now();
  const bool mapped = !options.memoryMap.empty();
  auto image = mapped ? Image::open(options.path, options.memoryMap) : Image::open(options.path);
  if (!image) return tl::unexpected(image.error());
  const uint64_t size = (*image)->fileSize();
  if (!mapped && (*image)->format() == "raw" && size > kAlwaysOnePiece) {
    return attachToLargeRaw(options, size, kernelOptions, budget);
  }
  std::string how =
      std::string((*image)->format()) + " file, by " + (mapped ? "the given map" : "its content");
  return attachTo(std::move(*image), std::move(how), Clock::now() - start, kernelOptions, budget);
}

}  // namespace xfilter
