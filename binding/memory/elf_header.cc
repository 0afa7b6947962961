#include "memory/elf_header.h"

namespace xfilter {
namespace {

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

}  // namespace

bool isElf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

tl::unexpected<Error> truncatedCore(const std::string& what) {
  return failure("SOURCE_TRUNCATED", "The ELF core ends early: " + what + ".",
                 "The dump was cut short (a full disk?) or is still being written: take it again.");
}

Result<Elf64_Ehdr> readElfHeader(std::span<const std::byte> file, const char* supply) {
  const auto header = at<Elf64_Ehdr>(file, 0);
  if (!header) return truncatedCore("its header is missing");
  if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB) {
    return failure("SOURCE_FORMAT", "This ELF file is not a 64-bit little-endian one.", supply);
  }
  if (header->e_machine != EM_X86_64) {
    return failure(
        "SOURCE_FORMAT",
        "This ELF file is of " + machineName(header->e_machine) + " machine, not of an x86_64 one.", supply);
  }
  if (header->e_type != ET_CORE) {
    return failure("SOURCE_FORMAT", "This ELF file is not a core: it is a program or a library.", supply);
  }
  return *header;
}

}  // namespace xfilter
