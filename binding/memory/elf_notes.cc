#include "memory/elf_notes.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace xfilter {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kMaxNotes = 1 << 16;
constexpr uint64_t kMaxVmcoreinfo = 64 << 10;
constexpr size_t kMaxVcpus = 4096;

constexpr int privilegeOf(uint64_t codeSelector) { return static_cast<int>(codeSelector & 3); }

// struct elf_prstatus of x86_64: 112 bytes of process status, then the registers as ptrace orders them. Of
// a vCPU, QEMU fills in these and its number.
struct PrStatus {
  uint64_t status[14];
  uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax;
  uint64_t rip, cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs;
};

// QEMU's note of a vCPU (struct QEMUCPUState in its target/i386/arch_dump.c): `version` has been 1 since the
// first, `size` grew by kernel_gs_base.
struct QemuSegment {
  uint32_t selector, limit, flags, pad;
  uint64_t base;
};
struct QemuCpuState {
  uint32_t version, size;
  uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
  QemuSegment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
  uint64_t cr[5];
  uint64_t kernel_gs_base;
};
constexpr size_t kSizeWithoutKernelGs = offsetof(QemuCpuState, kernel_gs_base);
constexpr uint32_t kQemuVersion = 1;

std::optional<VcpuRegisters> readPrStatus(std::span<const std::byte> content) {
  PrStatus status{};
  if (content.size() < sizeof status) return std::nullopt;
  std::memcpy(&status, content.data(), sizeof status);
  return VcpuRegisters{.rip = status.rip, .gsBase = status.gs_base, .privilege = privilegeOf(status.cs)};
}

std::optional<VcpuRegisters> readQemuState(std::span<const std::byte> content) {
  QemuCpuState state{};
  if (content.size() < kSizeWithoutKernelGs) return std::nullopt;
  std::memcpy(&state, content.data(), std::min(content.size(), sizeof state));
  if (state.version != kQemuVersion) return std::nullopt;
  VcpuRegisters registers{.rip = state.rip,
                          .gsBase = state.gs.base,
                          .privilege = privilegeOf(state.cs.selector),
                          .cr3 = state.cr[3],
                          .cr4 = state.cr[4]};
  if (content.size() >= sizeof state && state.size >= sizeof state)
    registers.kernelGsBase = state.kernel_gs_base;
  return registers;
}

}  // namespace

// A note is a header, the name, the contents, the latter two padded to four bytes.
ElfNotes readElfNotes(std::span<const std::byte> notes) {
  ElfNotes found;
  std::vector<VcpuRegisters> fromQemu;
  const auto padded = [](uint64_t size) { return (size + 3) & ~uint64_t{3}; };
  uint64_t offset = 0;
  for (uint64_t i = 0; i < kMaxNotes && notes.size() - offset >= sizeof(Elf64_Nhdr); ++i) {
    Elf64_Nhdr header{};
    std::memcpy(&header, notes.data() + offset, sizeof header);
    const uint64_t nameOffset = offset + sizeof header;
    const uint64_t contentOffset = nameOffset + padded(header.n_namesz);
    if (contentOffset > notes.size() || notes.size() - contentOffset < header.n_descsz) break;
    const std::string_view name(reinterpret_cast<const char*>(notes.data() + nameOffset), header.n_namesz);
    const auto content = notes.subspan(contentOffset, header.n_descsz);

    if (name == "VMCOREINFO\0"sv && found.vmcoreinfo.empty()) {
      found.vmcoreinfo.assign(reinterpret_cast<const char*>(content.data()),
                              std::min<uint64_t>(content.size(), kMaxVmcoreinfo));
    } else if (name == "CORE\0"sv && header.n_type == NT_PRSTATUS && found.vcpus.size() < kMaxVcpus) {
      if (const auto registers = readPrStatus(content)) found.vcpus.push_back(*registers);
    } else if (name == "QEMU\0"sv && fromQemu.size() < kMaxVcpus) {
      if (const auto registers = readQemuState(content)) fromQemu.push_back(*registers);
    }
    offset = std::min<uint64_t>(contentOffset + padded(header.n_descsz), notes.size());
  }
  // QEMU writes both of each vCPU, and its own tells more.
  if (!fromQemu.empty()) found.vcpus = std::move(fromQemu);
  return found;
}

}  // namespace xfilter
