#include "memory/image.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "memory/elf_core.h"
#include "memory/elf_header.h"
#include "memory/lime.h"
#include "memory/xen_core.h"

namespace xfilter {
namespace {

constexpr char kSupply[] =
    "Give an ELF core of QEMU or libvirt (`dump-guest-memory`, `virsh dump --memory-only`), a core of Xen "
    "(`xl dump-core`), a LiME dump, or a raw file of the guest's RAM.";

// What people give by mistake, or what is not read yet. The names of formats, so that the error can say them.
struct ForeignFormat {
  std::string_view magic;
  std::string_view name;
};
constexpr std::array kForeignFormats = {
    ForeignFormat{{"\x1f\x8b", 2}, "a gzip file: unpack it first"},
    ForeignFormat{"\x28\xb5\x2f\xfd", "a zstd file: unpack it first"},
    ForeignFormat{{"\xfd"
                   "7zXZ\0",
                   6},
                  "an xz file: unpack it first"},
    ForeignFormat{"QFI\xfb", "a qcow2 disk image, not memory"},
    ForeignFormat{"KDUMP   ", "a compressed kdump file, which is not supported"},
    ForeignFormat{"makedumpfile", "a flattened kdump file, which is not supported"},
    ForeignFormat{"AVML", "a compressed AVML file: convert it with `avml-convert` first"},
    ForeignFormat{"QEVM", "a QEMU migration stream, not a memory dump"},
    ForeignFormat{"LibvirtQemudSave", "a libvirt save file: dump with `virsh dump --memory-only` instead"},
};

const ForeignFormat* foreignFormat(std::span<const std::byte> file) {
  for (const auto& format : kForeignFormats) {
    if (file.size() >= format.magic.size() &&
        std::memcmp(file.data(), format.magic.data(), format.magic.size()) == 0) {
      return &format;
    }
  }
  return nullptr;
}

// A raw file has no header: what is whole pages and nothing else we know is taken for one.
bool isRaw(std::span<const std::byte> file) { return file.size() % kPageSize == 0; }

Result<ImageMap> readRaw(std::span<const std::byte> file) {
  return ImageMap{.segments = {{{0}, file.size(), 0, file.size()}}};
}

// The formats, in the order in which they are tried.
struct Format {
  std::string_view name;
  bool hasHeader;
  bool (*matches)(std::span<const std::byte> file);
  Result<ImageMap> (*read)(std::span<const std::byte> file);
};
constexpr std::array kFormats = {
    Format{"xen", true, isXenCore, readXenCore},
    Format{"elf", true, isElf, readElfCore},
    Format{"lime", true, isLime, readLime},
    Format{"raw", false, isRaw, readRaw},
};

constexpr std::array<std::byte, kPageSize> kZeroPage{};

}  // namespace

Result<std::unique_ptr<Image>> Image::open(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(file.error());
  // A guest's RAM may begin with a hole, which reading would fill; no header is in one.
  const bool mayHaveHeader = (*file)->nextStored(0, 1).size > 0;
  const auto bytes = (*file)->bytes();
  if (const auto* foreign = mayHaveHeader ? foreignFormat(bytes) : nullptr) {
    return failure("SOURCE_FORMAT", path + " is " + std::string(foreign->name) + ".", kSupply);
  }
  for (const auto& format : kFormats) {
    if ((format.hasHeader && !mayHaveHeader) || !format.matches(bytes)) continue;
    auto map = format.read(bytes);
    if (!map) return failure(map.error().code, path + ": " + map.error().message, map.error().advice);
    return std::unique_ptr<Image>(new Image(std::move(*file), format.name, std::move(*map)));
  }
  return failure("SOURCE_FORMAT", path + " is not a memory image: no known header, and not whole pages.",
                 kSupply);
}

Result<std::unique_ptr<Image>> Image::open(const std::string& path, std::span<const MemoryMapEntry> map) {
  auto file = MappedFile::open(path);
  if (!file) return tl::unexpected(file.error());
  const uint64_t fileSize = (*file)->bytes().size();
  ImageMap image;
  for (const MemoryMapEntry& entry : map) {
    if (entry.fileOffset > fileSize || fileSize - entry.fileOffset < entry.size) {
      return failure(
          "SOURCE_TRUNCATED",
          path + " has " + std::to_string(fileSize) + " bytes and ends before the memory map does.",
          "Check the sizes and offsets of the map (memoryMap), and that the file is whole.");
    }
    image.segments.push_back({entry.start, entry.size, entry.fileOffset, entry.size});
  }
  return std::unique_ptr<Image>(new Image(std::move(*file), "raw", std::move(image)));
}

Image::Image(std::unique_ptr<MappedFile> file, std::string_view format, ImageMap map)
    : file_(std::move(file)),
      format_(format),
      scattered_(map.scattered),
      vmcoreinfoNote_(std::move(map.vmcoreinfoNote)),
      vcpus_(std::move(map.vcpus)) {
  // /proc/vmcore has a segment for the kernel's text beside the one of the memory that it lies in: where
  // segments overlap, the first and longest holds, and the others keep what it does not cover.
  std::sort(map.segments.begin(), map.segments.end(), [](const ImageSegment& a, const ImageSegment& b) {
    return a.start != b.start ? a.start < b.start : a.size > b.size;
  });
  uint64_t end = 0;
  size_t kept = 0;
  for (ImageSegment segment : map.segments) {
    if (segment.start.value < end) {
      const uint64_t covered = end - segment.start.value;
      if (covered >= segment.size) continue;
      segment = {{end},
                 segment.size - covered,
                 segment.fileOffset + covered,
                 segment.stored > covered ? segment.stored - covered : 0};
    }
    map.segments[kept++] = segment;
    end = segment.start.value + segment.size;
  }
  map.segments.resize(kept);
  segments_ = std::move(map.segments);
  // Neighbours are one range: of a guest of Xen nearly every page may be a segment.
  for (const ImageSegment& segment : segments_) {
    MemoryRange* last = ranges_.empty() ? nullptr : &ranges_.back();
    if (last && last->start + last->size == segment.start && segment.start.value % kPageSize == 0) {
      last->size += segment.size;
    } else {
      ranges_.push_back({segment.start, segment.size});
    }
  }
}

const ImageSegment* Image::segmentAt(PhysicalAddress address) const {
  const auto after = std::upper_bound(segments_.begin(), segments_.end(), address,
                                      [](PhysicalAddress a, const ImageSegment& s) { return a < s.start; });
  if (after == segments_.begin()) return nullptr;
  const ImageSegment& segment = *(after - 1);
  return address.value - segment.start.value < segment.size ? &segment : nullptr;
}

std::span<const std::byte> Image::view(PhysicalAddress address) const {
  const ImageSegment* segment = segmentAt(address);
  if (segment == nullptr) return {};
  const uint64_t offset = address.value - segment->start.value;
  if (offset < segment->stored) {
    return file_->bytes().subspan(segment->fileOffset + offset, segment->stored - offset);
  }
  const uint64_t inPage = address.value % kPageSize;
  return std::span(kZeroPage).subspan(inPage, std::min(kPageSize - inPage, segment->size - offset));
}

MemoryRange Image::nextStored(PhysicalAddress address) const {
  auto segment = std::lower_bound(
      segments_.begin(), segments_.end(), address,
      [](const ImageSegment& s, PhysicalAddress a) { return s.start.value + s.size <= a.value; });
  for (; segment != segments_.end(); ++segment) {
    const uint64_t skip = address > segment->start ? address.value - segment->start.value : 0;
    const auto run = file_->nextStored(segment->fileOffset + skip, segment->fileOffset + segment->stored);
    if (run.size > 0) return {segment->start + (run.offset - segment->fileOffset), run.size};
  }
  return {};
}

void Image::release(MemoryRange run) const {
  const ImageSegment* segment = segmentAt(run.start);
  if (segment == nullptr) return;
  const uint64_t offset = run.start.value - segment->start.value;
  file_->release({segment->fileOffset + offset, std::min(run.size, segment->size - offset)});
}

Result<void> Image::intact() const {
  if (!file_->shrunk()) return {};
  return failure("SOURCE_TRUNCATED", file_->path() + " shrank, or could not be read, while it was in use.",
                 "Check the medium; keep the file as it is while a guest is open on it, and open it again.");
}

}  // namespace xfilter
