#include "kernel/kernel_space.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "kernel/page_table_scan.h"

namespace xfilter {
namespace {

// struct new_utsname: six strings of 65 bytes; the third is the release. In struct uts_namespace it is the
// first member since 5.11, and behind a reference count before (9a56493f6942).
constexpr size_t kUtsString = 65;
constexpr size_t kUtsReleaseOffset = 2 * kUtsString;
constexpr size_t kUtsMaxStart = 64;

// What is left of kernels that ran before, with a few to spare for what was made to look like one.
constexpr size_t kMaxKernels = 8;

// Further CPUs, and all after a suspend, start in real mode: below 1 MiB the kernel keeps code for that, with
// a root table whose last entry is its own (arch/x86/realmode/init.c). No user's page lies there: the kernel
// takes all of it for itself since 5.13 (f1d4d47c5851), and the little that it gave away before when nothing
// else was left.
constexpr PhysicalAddress kLowMemoryEnd{1 << 20};

bool holdsRelease(KernelMemory& memory, VirtualAddress initUtsNs, std::string_view release) {
  std::array<char, kUtsMaxStart + kUtsReleaseOffset + kUtsString> bytes{};
  if (release.size() >= kUtsString || !memory.read(initUtsNs, bytes.data(), bytes.size())) return false;
  for (size_t start = 0; start <= kUtsMaxStart; ++start) {
    const char* candidate = bytes.data() + start + kUtsReleaseOffset;
    if (std::memcmp(candidate, release.data(), release.size()) == 0 && candidate[release.size()] == '\0')
      return true;
  }
  return false;
}

tl::unexpected<Error> notFound(const PhysicalMemory& memory, size_t unproven) {
  std::string what = "No Linux kernel was found in the memory";
  if (memory.scattered()) {
    what += ": no page table leads to a kernel's text";
  } else if (unproven > 0) {
    what += ": " +
            (unproven == 1 ? "a VMCOREINFO text is" : std::to_string(unproven) + " VMCOREINFO texts are") +
            " in it, but what page tables it names do not lead to a kernel";
  } else {
    what += ": no VMCOREINFO text is in it, and no page table that leads to a kernel's text";
  }
  return failure(
      "KERNEL_NOT_FOUND", what + ".",
      memory.format() == "raw"
          ? "Check that the file is the guest's whole RAM, of an x86_64 Linux that had started; if it "
            "lies in the file in another order than QEMU's, say how by memoryMap (--memory-map); an "
            "ELF core carries the addresses and needs no guess."
          : "Check that the guest is an x86_64 Linux, and that its kernel had started.");
}

std::string hex(uint64_t value) {
  std::array<char, 19> text{};
  std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

}  // namespace

std::optional<KernelSpace> proveKernelSpace(const PhysicalMemory& memory, const Vmcoreinfo& info,
                                            std::string how) {
  const auto swapper = info.symbol("swapper_pg_dir");
  const auto stext = info.symbol("_stext");
  const auto initUtsNs = info.symbol("init_uts_ns");
  const auto physBase = info.number("phys_base");
  if (!swapper || !stext || !initUtsNs || !physBase) return std::nullopt;
  // Elsewhere lies memory of the guest's users.
  if (!isInKernelImage(*swapper) || !isInKernelImage(*stext) || !isInKernelImage(*initUtsNs))
    return std::nullopt;

  const PhysicalAddress root{swapper->value - kKernelImageBase.value + static_cast<uint64_t>(*physBase)};
  if (root.value % kPageSize != 0) return std::nullopt;
  const int levels = info.number("pgtable_l5_enabled").value_or(0) != 0 ? 5 : 4;
  const AddressSpace space(memory, root, levels);

  const auto self = space.translate(*swapper);
  if (!self || self->physical != root || !space.translate(*stext)) return std::nullopt;
  KernelMemory kernelMemory(space);
  if (!holdsRelease(kernelMemory, *initUtsNs, info.release())) return std::nullopt;
  return KernelSpace{.space = space,
                     .physBase = *physBase,
                     .kaslrOffset = info.kernelOffset().value_or(0),
                     .imageStart = *stext,
                     .info = info,
                     .release = std::string(info.release()),
                     .known = {{"_stext", *stext}},
                     .how = std::move(how)};
}

std::optional<AddressSpace> spaceOfKernel(const KernelSpace& found, VirtualAddress rootTable) {
  const PhysicalMemory& memory = found.space.memory();
  PhysicalAddress root{rootTable.value - kKernelImageBase.value + static_cast<uint64_t>(found.physBase)};
  if (memory.scattered()) {
    const auto mapped = found.space.translate(rootTable);
    if (!mapped) return std::nullopt;
    root = mapped->physical;
  }
  if (root.value % kPageSize != 0) return std::nullopt;
  const AddressSpace space(memory, root, found.space.levels());
  const auto self = space.translate(rootTable);
  return self && self->physical == root ? std::optional(space) : std::nullopt;
}

namespace {

/// The address spaces that the vCPUs' CR3 may mean.
std::vector<AddressSpace> spacesOfVcpus(const PhysicalMemory& memory) {
  constexpr uint64_t kRootMask = 0x000f'ffff'ffff'f000;
  constexpr uint64_t kUserHalf = 0x1000;  // of the pair of roots that page-table isolation has
  constexpr uint64_t kLa57 = 1 << 12;
  std::vector<AddressSpace> spaces;
  for (const VcpuRegisters& vcpu : memory.vcpus()) {
    if (!vcpu.cr3) continue;
    const int levels = vcpu.cr4.value_or(0) & kLa57 ? 5 : 4;
    const uint64_t root = *vcpu.cr3 & kRootMask;
    spaces.emplace_back(memory, PhysicalAddress{root}, levels);
    if (root & kUserHalf) spaces.emplace_back(memory, PhysicalAddress{root & ~kUserHalf}, levels);
  }
  return spaces;
}

/// Whether one of the address spaces has the kernel where `kernel` has it.
bool anyMaps(std::span<const AddressSpace> spaces, const KernelSpace& kernel) {
  const auto place = kernel.space.translate(kernel.imageStart);
  return std::any_of(spaces.begin(), spaces.end(), [&](const AddressSpace& space) {
    const auto seen = space.translate(kernel.imageStart);
    return seen && place && seen->physical == place->physical;
  });
}

/// The kernels whose images these address spaces map.
std::vector<KernelSpace> kernelsOf(std::span<const AddressSpace> spaces, const std::string& how,
                                   Budget& budget) {
  std::vector<KernelSpace> kernels;
  for (const AddressSpace& space : spaces) {
    if (kernels.size() == kMaxKernels || !budget.spendLong()) break;
    // A table of the fifth level passes for a root of four: both have to be tried.
    const auto known = [&](const KernelSpace& kernel) {
      return kernel.space.levels() == space.levels() && anyMaps(std::span(&space, 1), kernel);
    };
    if (std::any_of(kernels.begin(), kernels.end(), known)) continue;
    const auto image = findKernelImage(space, budget);
    if (!image) continue;
    KernelSpace kernel{.space = space,
                       .physBase = image->physBase,
                       .kaslrOffset = image->kaslrOffset,
                       .imageStart = image->start,
                       .how = how + hex(space.root().value)};
    for (const VirtualAddress banner : image->banners) kernel.known.push_back({"linux_banner", banner});
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

/// The kernels whose VMCOREINFO a scan finds. `unproven` counts the texts that lead to none.
std::vector<KernelSpace> scanForKernels(const PhysicalMemory& memory, size_t& unproven, Budget& budget) {
  std::vector<KernelSpace> found;
  scanForVmcoreinfo(memory, budget, [&](const Vmcoreinfo& info, PhysicalAddress at) {
    auto space = proveKernelSpace(memory, info, "a scan of memory; VMCOREINFO at " + hex(at.value));
    if (!space) {
      ++unproven;
      return true;
    }
    const bool known = std::any_of(found.begin(), found.end(), [&](const KernelSpace& k) {
      return k.space.root() == space->space.root() && k.imageStart == space->imageStart;
    });
    if (!known) found.push_back(std::move(*space));
    return found.size() < kMaxKernels;
  });
  return found;
}

}  // namespace

Result<std::vector<KernelSpace>> findKernelSpaces(const PhysicalMemory& memory, Budget& budget) {
  size_t unproven = 0;
  std::vector<KernelSpace> found;
  const auto running = spacesOfVcpus(memory);
  if (const auto note = Vmcoreinfo::parse(memory.vmcoreinfoNote()); note && !memory.scattered()) {
    if (auto space = proveKernelSpace(memory, *note, "the image's VMCOREINFO note")) {
      found.push_back(std::move(*space));
    } else {
      ++unproven;
    }
  }
  // A note stays what it was when another kernel is started by kexec.
  if (!found.empty() && (running.empty() || anyMaps(running, found.front()))) return found;
  if (auto kernels = kernelsOf(running, "a vCPU's registers; its root page table at ", budget);
      !kernels.empty()) {
    return kernels;
  }
  if (!found.empty()) return found;

  // Both count by the guest's own frames. Where page tables do not, a user may have the frames of these
  // numbers.
  if (!memory.scattered()) {
    found = kernelsOf(scanForPageTables(memory, kLowMemoryEnd, budget),
                      "the root page table that its CPUs start with, at ", budget);
    if (found.empty()) found = scanForKernels(memory, unproven, budget);
  }
  if (found.empty()) {
    found = kernelsOf(scanForPageTables(memory, {~uint64_t{0}}, budget),
                      "a scan of memory; a root page table at ", budget);
  }
  if (found.empty()) return notFound(memory, unproven);
  return found;
}

}  // namespace xfilter
