#include "memory/elf_core.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>

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

template <class T>
std::optional<T> at(std::span<const std::byte> file, uint64_t offset) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

tl::unexpected<Error> badFormat(std::string what) {
  return failure("SOURCE_FORMAT", std::move(what), kSupply);
}

tl::unexpected<Error> truncated(const std::string& what) {
  return failure("SOURCE_TRUNCATED", "The ELF core ends early: " + what + ".",
                 "The dump was cut short (a full disk?) or is still being written: take it again.");
}

std::string machineName(uint16_t machine) {
  switch (machine) {
    case EM_AARCH64:
      return "an aarch64";
    case EM_386:
      return "a 32-bit x86";
    case EM_PPC64:
      return "a ppc64";
    case EM_S390:
      return "an s390x";
    case EM_RISCV:
      return "a riscv";
    default:
      return "another";
  }
}

// More than 0xfffe segments do not fit e_phnum: then section 0 has the number.
Result<uint64_t> programHeaderCount(std::span<const std::byte> file, const Elf64_Ehdr& header) {
  if (header.e_phnum != PN_XNUM) return header.e_phnum;
  const auto section = at<Elf64_Shdr>(file, header.e_shoff);
  if (!section) return truncated("its section header is missing");
  return section->sh_info;
}

}  // namespace

bool isElf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Result<ImageMap> readElfCore(std::span<const std::byte> file) {
  const auto header = at<Elf64_Ehdr>(file, 0);
  if (!header) return truncated("its header is missing");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
    return badFormat("This ELF file is not a 64-bit little-endian one.");
  }
  if (header->e_machine != EM_X86_64) {
    return badFormat("This ELF file is of " + machineName(header->e_machine) +
                     " machine, not of an x86_64 one.");
  }
  if (header->e_type != ET_CORE)
    return badFormat("This ELF file is not a core: it is a program or a library.");
  if (header->e_phentsize != sizeof(Elf64_Phdr))
    return badFormat("Its program headers have an unknown size.");
  const auto count = programHeaderCount(file, *header);
  if (!count) return tl::unexpected(count.error());
  if (*count > kMaxProgramHeaders) return badFormat("It claims an impossible number of program headers.");

  ImageMap map;
  int noteSegments = 0;
  for (uint64_t i = 0; i < *count; ++i) {
    const auto segment = at<Elf64_Phdr>(file, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment) return truncated("its program headers are missing");
    if (segment->p_type != PT_LOAD && segment->p_type != PT_NOTE) continue;
    if (segment->p_offset > file.size() || file.size() - segment->p_offset < segment->p_filesz) {
      return truncated("a segment lies beyond the end of the file");
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
