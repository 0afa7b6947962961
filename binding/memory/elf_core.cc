#include "memory/elf_core.h"

#include "memory/elf_header.h"
#include "memory/elf_notes.h"

namespace xfilter {
namespace {

constexpr char kSupply[] =
    "Give an ELF64 core of an x86_64 guest, as `dump-guest-memory` or `virsh dump --memory-only` make it.";
// A dump has a segment for each run of kept pages at most; what is far beyond that is not a dump.
constexpr uint64_t kMaxProgramHeaders = 1 << 20;
// A dump has one segment of notes. Each may be as long as the file, and be the same.
constexpr int kMaxNoteSegments = 16;
// The widest physical address that x86_64 defines.
constexpr uint64_t kPhysicalLimit = uint64_t{1} << 52;

tl::unexpected<Error> badFormat(std::string what) {
  return failure("SOURCE_FORMAT", std::move(what), kSupply);
}

// More than 0xfffe segments do not fit e_phnum: then section 0 has the number.
Result<uint64_t> programHeaderCount(std::span<const std::byte> file, const Elf64_Ehdr& header) {
  if (header.e_phnum != PN_XNUM) return header.e_phnum;
  const auto section = at<Elf64_Shdr>(file, header.e_shoff);
  if (!section) return truncatedCore("its section header is missing");
  return section->sh_info;
}

}  // namespace

Result<ImageMap> readElfCore(std::span<const std::byte> file) {
  const auto header = readElfHeader(file, kSupply);
  if (!header) return tl::unexpected(header.error());
  if (header->e_phentsize != sizeof(Elf64_Phdr))
    return badFormat("Its program headers have an unknown size.");
  const auto count = programHeaderCount(file, *header);
  if (!count) return tl::unexpected(count.error());
  if (*count > kMaxProgramHeaders) return badFormat("It claims an impossible number of program headers.");

  ImageMap map;
  int noteSegments = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    const auto segment = at<Elf64_Phdr>(file, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment) return truncatedCore("its program headers are missing");
    if (segment->p_type != PT_LOAD && segment->p_type != PT_NOTE) continue;
    if (segment->p_offset > file.size() || file.size() - segment->p_offset < segment->p_filesz) {
      return truncatedCore("a segment lies beyond the end of the file");
    }
    if (segment->p_type == PT_NOTE) {
      if (++noteSegments > kMaxNoteSegments) return badFormat("It has an impossible number of notes.");
      ElfNotes notes = readElfNotes(file.subspan(segment->p_offset, segment->p_filesz));
      if (map.vmcoreinfoNote.empty()) map.vmcoreinfoNote = std::move(notes.vmcoreinfo);
      if (map.vcpus.empty()) map.vcpus = std::move(notes.vcpus);
      continue;
    }
    if (segment->p_memsz < segment->p_filesz || segment->p_paddr >= kPhysicalLimit ||
        segment->p_memsz > kPhysicalLimit - segment->p_paddr) {
      return badFormat("A segment has impossible sizes.");
    }
    if (segment->p_memsz > 0) {
      map.segments.push_back({{segment->p_paddr}, segment->p_memsz, segment->p_offset, segment->p_filesz});
    }
  }
  if (map.segments.empty()) return badFormat("This ELF core holds no memory.");
  return map;
}

}  // namespace xfilter
