#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernel/kernel.h"
#include "memory/image.h"

namespace xfilter {

/// A guest's memory and the kernel found in it.
struct AttachedGuest {
  std::unique_ptr<PhysicalMemory> memory;
  Kernel kernel;
};

struct ImageOptions {
  std::string path;
  /// Where the guest's memory lies in the file; if empty, the file's format says it, or a raw file's kernel.
  std::vector<MemoryMapEntry> memoryMap{};
};

/// Opens an image and finds the kernel in it. A raw file of a guest whose memory goes on above 4 GiB has no
/// hole where the guest's addresses have one: each likely split is tried, until the page tables work and the
/// kernel agrees on where its RAM ends.
///
/// Errors: those of Image::open and findKernel.
Result<AttachedGuest> attachImage(const ImageOptions& image, const KernelOptions& options, Budget& budget);

}  // namespace xfilter
