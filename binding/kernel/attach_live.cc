#include "kernel/attach_live.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernel/attach_memory.h"
#include "kernel/raw_layout.h"

namespace xfilter {
namespace {

using Clock = std::chrono::steady_clock;

Result<AttachedGuest> attachTo(std::shared_ptr<const HostProcess> process, std::vector<RamRegion> regions,
                               std::string how, const KernelOptions& options, Budget& budget) {
  const auto start = Clock::now();
  auto memory = LiveMemory::open(std::move(process), std::move(regions));
  if (!memory) return tl::unexpected(memory.error());
  AttachStep opened{"memory", std::move(how), (*memory)->describe(),
                    static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count())};
  return attachMemory(std::move(*memory), std::move(opened), options, budget);
}

/// A run of addresses of the process that may be a guest's RAM.
struct Candidate {
  uint64_t host = 0;
  uint64_t size = 0;
};

// A guest that has BTF in its memory has more.
constexpr uint64_t kMinRam = uint64_t{16} << 20;
// A QEMU has a few mappings of this size: its RAM, a display's memory, the heap.
constexpr size_t kMaxCandidates = 16;

/// Whether both are parts of one block of RAM, that the kernel keeps apart for their different treatment.
bool continues(const ProcessMapping& before, const ProcessMapping& after) {
  return before.end == after.start && before.shared == after.shared && before.inode == after.inode &&
         before.device == after.device &&
         (before.inode == 0 || before.fileOffset + before.size() == after.fileOffset);
}

void keepLargest(std::vector<Candidate>& found) {
  std::erase_if(found, [](const Candidate& c) { return c.size < kMinRam; });
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return a.size > b.size; });
  if (found.size() > kMaxCandidates) found.resize(kMaxCandidates);
}

/// What is large enough and can be RAM: mappings, the largest first, and then runs of them, as what lies
/// beside a block of RAM may be something else as well as more of it.
std::vector<Candidate> candidates(std::span<const ProcessMapping> mappings) {
  std::vector<Candidate> single, runs;
  const ProcessMapping* last = nullptr;
  bool isRun = false;
  for (const ProcessMapping& mapping : mappings) {
    // Executable is what QEMU's translator makes, and what it runs itself.
    if (!mapping.readable || mapping.executable || mapping.path.starts_with('[')) continue;
    single.push_back({mapping.start, mapping.size()});
    const bool more = last != nullptr && continues(*last, mapping);
    if (more && !isRun) runs.push_back({last->start, last->size()});
    if (more) runs.back().size += mapping.size();
    isRun = more;
    last = &mapping;
  }
  keepLargest(single);
  keepLargest(runs);
  single.insert(single.end(), runs.begin(), runs.end());
  return single;
}

std::vector<RamRegion> regionsOf(const Candidate& candidate, const RawLayout& layout) {
  std::vector<RamRegion> regions;
  for (const MemoryMapEntry& entry : layout.map(candidate.size)) {
    regions.push_back({entry.start, entry.size, candidate.host + entry.fileOffset});
  }
  return regions;
}

/// Without QEMU's word: the mapping in which there is a kernel, laid out so that the kernel agrees on where
/// its RAM ends.
Result<AttachedGuest> attachByMappings(const std::shared_ptr<const HostProcess>& process,
                                       const KernelOptions& options, Budget& budget) {
  const auto mappings = process->mappings();
  if (!mappings) return tl::unexpected(mappings.error());
  std::optional<uint64_t> ramEnd;
  std::optional<Error> error;
  for (const Candidate& candidate : candidates(*mappings)) {
    for (const RawLayout& layout : likelyRawLayouts(candidate.size)) {
      auto guest =
          attachTo(process, regionsOf(candidate, layout),
                   "the process's mappings, by the kernel in them; " + layout.describe(), options, budget);
      if (guest && (!guest->kernel.ramEnd || layout.fits(candidate.size, *guest->kernel.ramEnd)))
        return guest;
      if (guest) ramEnd = guest->kernel.ramEnd;
      if (!guest && !budget.spendLong()) return guest;
      const bool none = !guest && std::strcmp(guest.error().code, "KERNEL_NOT_FOUND") == 0;
      if (!guest && !none && !error) error = guest.error();
    }
  }
  if (ramEnd) {
    return failure("RAM_UNKNOWN",
                   "The guest's kernel uses memory up to " + std::to_string(*ramEnd) +
                       ", and no mapping of process " + std::to_string(process->pid()) + " has as much.",
                   "It is spread over several (plugged in, or of several NUMA nodes): give the QMP socket.");
  }
  if (error) return tl::unexpected(*error);
  return failure(
      "KERNEL_NOT_FOUND",
      "No Linux kernel was found in the memory of process " + std::to_string(process->pid()) + ".",
      "Check that it is the QEMU that runs the guest, an x86_64 Linux whose kernel has started; of a "
      "guest whose memory is in several pieces (plugged in, or NUMA nodes), give the QMP socket.");
}

}  // namespace

Result<AttachedGuest> attachLive(const LiveOptions& live, const KernelOptions& options, Budget& budget) {
  auto process = HostProcess::open(live.pid);
  if (!process) return tl::unexpected(process.error());
  auto guest = live.regions.empty()
                   ? attachByMappings(std::move(*process), options, budget)
                   : attachTo(std::move(*process), live.regions, "QEMU's own map, by QMP", options, budget);
  if (guest && live.running) return requireRunning(std::move(*guest), budget);
  return guest;
}

}  // namespace xfilter
