#include "memory/xen_core.h"

#include <algorithm>
#include <string_view>

#include "memory/elf_header.h"
#include "memory/xen_vcpu.h"

namespace xfilter {
namespace {

// ELF header, section headers, then the sections, which are known by name (Xen's
// docs/misc/dump-core-format.txt):
//
//   .xen_prstatus: a struct vcpu_guest_context for each vCPU
//   .xen_pages: pages, one after the other
//   .xen_p2m: of a paravirtual guest, for each page the guest's frame number and the machine's, u64 each
//   .xen_pfn: of any other guest, for each page the guest's frame number, u64
//   .shstrtab: the names
//
// and some that are not needed. A page that was gone when its turn came is zero, and has kNoFrame.
constexpr uint64_t kNoFrame = ~uint64_t{0};
constexpr uint64_t kFrameLimit = uint64_t{1} << (52 - 12);
constexpr size_t kMaxVcpus = 4096;
// Of a guest of 64 GiB no two of whose pages lie together; usually 512 and more do.
constexpr size_t kMaxRuns = 1 << 24;

constexpr char kSupply[] = "Give a core file of `xl dump-core`, of an x86_64 guest.";

tl::unexpected<Error> badFormat(std::string what) {
  return failure("SOURCE_FORMAT", std::move(what), kSupply);
}

/// The sections of a file whose headers were found to be in it.
class Sections {
 public:
  static Result<Sections> read(std::span<const std::byte> file, const Elf64_Ehdr& header) {
    if (header.e_shentsize != sizeof(Elf64_Shdr))
      return badFormat("Its section headers have an unknown size.");
    Sections sections(file);
    for (uint64_t i = 0; i < header.e_shnum; ++i) {
      const auto section = at<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr));
      if (!section) return truncatedCore("its section headers are missing");
      sections.headers_.push_back(*section);
    }
    if (header.e_shstrndx >= sections.headers_.size()) return badFormat("Its sections have no names.");
    const auto names = sections.bytesOf(sections.headers_[header.e_shstrndx]);
    if (!names) return tl::unexpected(names.error());
    sections.names_ = {reinterpret_cast<const char*>(names->data()), names->size()};
    return sections;
  }

  /// Empty if there is none of this name.
  std::optional<Elf64_Shdr> find(std::string_view name) const {
    for (const Elf64_Shdr& header : headers_) {
      if (header.sh_name >= names_.size()) continue;
      const std::string_view rest = names_.substr(header.sh_name);
      if (rest.size() > name.size() && rest.starts_with(name) && rest[name.size()] == '\0') return header;
    }
    return std::nullopt;
  }

  Result<std::span<const std::byte>> bytesOf(const Elf64_Shdr& header) const {
    if (header.sh_offset > file_.size() || file_.size() - header.sh_offset < header.sh_size)
      return truncatedCore("a section lies beyond the end of the file");
    return file_.subspan(header.sh_offset, header.sh_size);
  }

 private:
  explicit Sections(std::span<const std::byte> file) : file_(file) {}

  std::span<const std::byte> file_;
  std::vector<Elf64_Shdr> headers_;
  std::string_view names_;
};

/// A page for each frame number, which is the last of each `stride` words. Runs become segments.
Result<std::vector<ImageSegment>> readFrames(std::span<const std::byte> frames, size_t stride,
                                             uint64_t pagesOffset) {
  std::vector<ImageSegment> segments;
  const size_t entrySize = stride * sizeof(uint64_t);
  for (uint64_t i = 0; i < frames.size() / entrySize; ++i) {
    const uint64_t frame = at<uint64_t>(frames, (i + 1) * entrySize - sizeof(uint64_t)).value_or(kNoFrame);
    if (frame == kNoFrame) continue;
    if (frame >= kFrameLimit) return badFormat("A page has an impossible frame number.");
    const PhysicalAddress start{frame * kPageSize};
    const uint64_t fileOffset = pagesOffset + i * kPageSize;
    ImageSegment* last = segments.empty() ? nullptr : &segments.back();
    if (last && last->start + last->size == start && last->fileOffset + last->size == fileOffset) {
      last->size += kPageSize;
      last->stored += kPageSize;
    } else {
      if (segments.size() == kMaxRuns) return badFormat("Its pages lie in too many pieces.");
      segments.push_back({start, kPageSize, fileOffset, kPageSize});
    }
  }
  return segments;
}

}  // namespace

bool isXenCore(std::span<const std::byte> file) {
  const auto header = at<Elf64_Ehdr>(file, 0);
  return isElf(file) && header && header->e_type == ET_CORE && header->e_phnum == 0 && header->e_shnum > 0;
}

Result<ImageMap> readXenCore(std::span<const std::byte> file) {
  const auto header = readElfHeader(file, kSupply);
  if (!header) return tl::unexpected(header.error());
  const auto sections = Sections::read(file, *header);
  if (!sections) return tl::unexpected(sections.error());

  const auto pages = sections->find(".xen_pages");
  const auto machineFrames = sections->find(".xen_p2m");
  const auto ownFrames = sections->find(".xen_pfn");
  if (!pages) return badFormat("This ELF core has neither program headers nor the pages that Xen's have.");
  if (machineFrames.has_value() == ownFrames.has_value())
    return badFormat("This core of Xen does not say where in the guest's memory its pages lie.");
  const size_t stride = machineFrames ? 2 : 1;
  const auto frames = sections->bytesOf(machineFrames ? *machineFrames : *ownFrames);
  if (!frames) return tl::unexpected(frames.error());
  if (const auto bytes = sections->bytesOf(*pages); !bytes) return tl::unexpected(bytes.error());
  if (pages->sh_size == 0 || pages->sh_size % kPageSize != 0 ||
      frames->size() != pages->sh_size / kPageSize * stride * sizeof(uint64_t))
    return badFormat("This core of Xen has another number of pages than it says where they lie.");

  auto segments = readFrames(*frames, stride, pages->sh_offset);
  if (!segments) return tl::unexpected(segments.error());
  if (segments->empty()) return badFormat("This core of Xen holds no memory.");
  ImageMap map{.segments = std::move(*segments), .scattered = machineFrames.has_value()};

  if (const auto status = sections->find(".xen_prstatus")) {
    const auto contexts = sections->bytesOf(*status);
    if (!contexts) return tl::unexpected(contexts.error());
    const size_t count = std::min<uint64_t>(contexts->size() / kXenContextSize, kMaxVcpus);
    for (size_t i = 0; i < count; ++i)
      map.vcpus.push_back(
          readXenVcpu(contexts->subspan(i * kXenContextSize, kXenContextSize), map.scattered));
  }
  return map;
}

}  // namespace xfilter
