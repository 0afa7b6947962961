#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "memory/vcpu_registers.h"

namespace xfilter {

/// What the notes of an ELF core tell beside the memory.
struct ElfNotes {
  std::string vmcoreinfo;
  /// In the order of the dump. Of a dump without QEMU's notes, only what NT_PRSTATUS has.
  std::vector<VcpuRegisters> vcpus;
};

/// Reads a note segment. Notes of other kinds and broken ones are passed over.
ElfNotes readElfNotes(std::span<const std::byte> notes);

}  // namespace xfilter
