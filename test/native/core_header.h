#pragma once

#include <elf.h>

#include <cstring>

namespace xfilter::test {

/// The ELF header of a core of an x86_64 guest, which says of no table yet where it is.
inline Elf64_Ehdr coreHeader() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_CORE;
  header.e_machine = EM_X86_64;
  return header;
}

}  // namespace xfilter::test
