#include "memory/xen_vcpu.h"

#include "memory/elf_header.h"

namespace xfilter {
namespace {

// 512 bytes of the FPU's come first. ctrlreg[] begins at 0x1378; [1] is the user's root of a paravirtual
// guest.
constexpr uint64_t kFlags = 0x200;
constexpr uint64_t kRip = 0x288;
constexpr uint64_t kCs = 0x290;
constexpr uint64_t kCr3 = 0x1390;
constexpr uint64_t kCr4 = 0x1398;
constexpr uint64_t kGsBaseKernel = 0x1420;
constexpr uint64_t kGsBaseUser = 0x1428;
constexpr uint64_t kInKernel = 1 << 2;  // VGCF_in_kernel
constexpr int kUser = 3;

}  // namespace

// Xen tells which GS base waits in which mode by the names of the two, and a paravirtual kernel's mode by a
// flag: it runs in ring 3, as its users do.
VcpuRegisters readXenVcpu(std::span<const std::byte> context, bool paravirtual) {
  const auto word = [&](uint64_t offset) { return at<uint64_t>(context, offset).value_or(0); };
  const int privilege = !paravirtual                 ? static_cast<int>(word(kCs) & 3)
                        : (word(kFlags) & kInKernel) ? 0
                                                     : kUser;
  const bool inUser = privilege == kUser;
  VcpuRegisters registers{.rip = word(kRip),
                          .gsBase = word(inUser ? kGsBaseUser : kGsBaseKernel),
                          .privilege = privilege,
                          .kernelGsBase = word(inUser ? kGsBaseKernel : kGsBaseUser),
                          .cr3 = word(kCr3)};
  // Of a paravirtual guest, Xen has the register, and four levels.
  if (!paravirtual) registers.cr4 = word(kCr4);
  return registers;
}

}  // namespace xfilter
