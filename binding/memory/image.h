#pragma once

#include <memory>
#include <string>
#include <vector>

#include "memory/mapped_file.h"
#include "memory/physical_memory.h"

namespace xfilter {

/// A piece of guest-physical memory and where its bytes lie in the file. What the file does not store
/// (`stored < size`) reads as zero, as in any ELF segment: makedumpfile leaves zero pages out that way.
struct ImageSegment {
  PhysicalAddress start;
  uint64_t size = 0;
  uint64_t fileOffset = 0;
  uint64_t stored = 0;
};

/// What a format's parser found in a file.
struct ImageMap {
  std::vector<ImageSegment> segments;
  std::string vmcoreinfoNote{};
  std::vector<VcpuRegisters> vcpus{};
  bool scattered = false;
};

/// Where a piece of guest-physical memory lies in a file, in the user's words.
struct MemoryMapEntry {
  PhysicalAddress start;
  uint64_t size = 0;
  uint64_t fileOffset = 0;
};

/// A memory image in a file, of any format whose pages lie in it uncompressed.
class Image final : public PhysicalMemory {
 public:
  /// Opens a file and finds out its format by its content: SOURCE_FORMAT names what it is instead.
  static Result<std::unique_ptr<Image>> open(const std::string& path);

  /// Opens a file as raw memory that lies in it as `map` says, whatever it begins with. SOURCE_TRUNCATED if
  /// it ends before the map does.
  static Result<std::unique_ptr<Image>> open(const std::string& path, std::span<const MemoryMapEntry> map);

  std::span<const std::byte> view(PhysicalAddress address) const override;
  std::span<const MemoryRange> ranges() const override { return ranges_; }
  MemoryRange nextStored(PhysicalAddress address) const override;
  void release(MemoryRange run) const override;
  std::string_view vmcoreinfoNote() const override { return vmcoreinfoNote_; }
  std::vector<VcpuRegisters> vcpus() const override { return vcpus_; }
  std::string_view format() const override { return format_; }
  bool claimsAllRam() const override { return format_ == "raw" || format_ == "lime"; }
  bool scattered() const override { return scattered_; }
  uint64_t fileSize() const { return file_->bytes().size(); }
  Result<void> intact() const override;

 private:
  Image(std::unique_ptr<MappedFile> file, std::string_view format, ImageMap map);
  const ImageSegment* segmentAt(PhysicalAddress address) const;

  std::unique_ptr<MappedFile> file_;
  std::string_view format_;
  bool scattered_;
  std::vector<ImageSegment> segments_;  // ascending, disjoint
  std::vector<MemoryRange> ranges_;
  std::string vmcoreinfoNote_;
  std::vector<VcpuRegisters> vcpus_;
};

}  // namespace xfilter
