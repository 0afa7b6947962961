#include "kernel/kernel_space.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

namespace xfilter {
namespace {

// struct new_utsname: six strings of 65 bytes; the third is the release. In struct uts_namespace it is the
// first member since 5.11, and behind a reference count before (9a56493f6942).
constexpr size_t kUtsString = 65;
constexpr size_t kUtsReleaseOffset = 2 * kUtsString;
constexpr size_t kUtsMaxStart = 64;

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
  if (unproven > 0) {
    what += ": " + std::to_string(unproven) +
            " VMCOREINFO texts are there, but the page tables that they name do not lead to a kernel";
  } else {
    what += ": no VMCOREINFO text is in it";
  }
  return failure(
      "KERNEL_NOT_FOUND", what + ".",
      memory.format() == "raw"
          ? "Check that the file is the guest's whole RAM from address 0 on, at most up to the hole below "
            "4 GiB, of an x86_64 Linux from 4.10 on; an ELF core carries the addresses and needs no guess."
          : "Check that the guest is an x86_64 Linux from 4.10 on, and that its kernel had started.");
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

  const PhysicalAddress root{swapper->value - kKernelImageBase.value + static_cast<uint64_t>(*physBase)};
  if (root.value % kPageSize != 0) return std::nullopt;
  const int levels = info.number("pgtable_l5_enabled").value_or(0) != 0 ? 5 : 4;
  const AddressSpace space(memory, root, levels);

  const auto self = space.translate(*swapper);
  if (!self || self->physical != root || !space.translate(*stext)) return std::nullopt;
  KernelMemory kernelMemory(space);
  if (!holdsRelease(kernelMemory, *initUtsNs, info.release())) return std::nullopt;
  return KernelSpace{info, space, *physBase, std::move(how)};
}

Result<std::vector<KernelSpace>> findKernelSpaces(const PhysicalMemory& memory, const std::stop_token& stop) {
  std::vector<KernelSpace> found;
  size_t unproven = 0;
  if (const auto note = Vmcoreinfo::parse(memory.vmcoreinfoNote())) {
    if (auto space = proveKernelSpace(memory, *note, "the image's VMCOREINFO note")) {
      found.push_back(std::move(*space));
      return found;
    }
    ++unproven;
  }
  scanForVmcoreinfo(memory, [&](const Vmcoreinfo& info, PhysicalAddress at) {
    if (stop.stop_requested()) return false;
    auto space = proveKernelSpace(memory, info, "a scan of memory; VMCOREINFO at " + hex(at.value));
    if (!space) {
      ++unproven;
      return true;
    }
    const bool known = std::any_of(found.begin(), found.end(), [&](const KernelSpace& k) {
      return k.space.root() == space->space.root();
    });
    if (!known) found.push_back(std::move(*space));
    return true;
  });
  if (stop.stop_requested()) return failure("ABORTED", "Finding the kernel was aborted.", "");
  if (found.empty()) return notFound(memory, unproven);
  return found;
}

}  // namespace xfilter
