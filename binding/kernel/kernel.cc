#include "kernel/kernel.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "kernel/build_id.h"
#include "kernel/guest_object.h"
#include "kernel/kernel_clock.h"
#include "kernel/kernel_space.h"
#include "kernel/symbols.h"
#include "kernel/types.h"
#include "kernel/types_fit.h"

namespace xfilter {
namespace {

/// Measures one step after the other.
class StepClock {
 public:
  void finish(std::vector<AttachStep>& steps, const char* name, std::string how, std::string found) {
    const auto now = std::chrono::steady_clock::now();
    const auto elapsed = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last_);
    steps.push_back({name, std::move(how), std::move(found), static_cast<uint64_t>(elapsed.count())});
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

constexpr size_t kMaxBanner = 512;
constexpr size_t kMaxNotes = 4096;

std::string readString(KernelMemory& memory, VirtualAddress address, size_t maximum) {
  std::string text;
  while (text.size() < maximum) {
    const auto byte = memory.read<char>(address + text.size());
    if (!byte || *byte == '\0') break;
    text += *byte;
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The linker puts the kernel's own ELF notes between __start_notes and __stop_notes. VMCOREINFO's BUILD-ID is
// not used: several stable releases filled it with garbage.
std::optional<std::string> readBuildId(KernelMemory& memory, const Symbols& symbols) {
  if (!symbols.start_notes || !symbols.stop_notes || *symbols.stop_notes < *symbols.start_notes)
    return std::nullopt;
  const size_t size = std::min<uint64_t>(symbols.stop_notes->value - symbols.start_notes->value, kMaxNotes);
  std::vector<std::byte> notes(size);
  if (!memory.read(*symbols.start_notes, notes.data(), size)) return std::nullopt;
  return findBuildId(notes);
}

std::optional<uint64_t> ramEndOf(KernelMemory& memory, const Symbols& symbols) {
  constexpr uint64_t kMaxFrames = uint64_t{1} << (52 - 12);
  const auto frames = symbols.max_pfn ? memory.read<uint64_t>(*symbols.max_pfn) : std::nullopt;
  if (!frames || *frames == 0 || *frames > kMaxFrames) return std::nullopt;
  return *frames * kPageSize;
}

/// What is there of a guest whose memory was cut off reads as a smaller guest, with rows missing.
std::optional<Error> cutOff(const KernelSpace& found, const Symbols& symbols,
                            std::optional<uint64_t> ramEnd) {
  const PhysicalMemory& memory = found.space.memory();
  if (!memory.claimsAllRam() || memory.ranges().empty()) return std::nullopt;
  const MemoryRange& last = memory.ranges().back();
  const uint64_t end = last.start.value + last.size;
  uint64_t used = ramEnd.value_or(0);
  // Its data may be cut off, too, and its tables.
  if (!ramEnd && symbols.max_pfn) {
    used = symbols.max_pfn->value - kKernelImageBase.value + static_cast<uint64_t>(found.physBase);
  }
  if (end >= used) return std::nullopt;
  return Error{
      "SOURCE_TRUNCATED",
      "The guest's kernel uses memory up to " + std::to_string(used) + ", but the image ends at " +
          std::to_string(end) + ".",
      "Check that it is the guest's whole RAM: memory that was plugged in later lies in files of its "
      "own, and an ELF core has all of it."};
}

/// The kernel's own address space, of which VMCOREINFO tells and otherwise the symbols do.
AddressSpace ownSpace(const KernelSpace& found, const Symbols& symbols) {
  const auto& rootTable = symbols.init_top_pgt ? symbols.init_top_pgt : symbols.init_level4_pgt;
  const auto own = !found.info && rootTable ? spaceOfKernel(found, *rootTable) : std::nullopt;
  return own.value_or(found.space);
}

/// The banner of a kernel of which no more may be known than where its image is; empty if not even that.
std::string knownBanner(const KernelSpace& found) {
  KernelMemory image(found.space);
  for (const KnownSymbol& known : found.known) {
    if (known.name == "linux_banner") return readString(image, known.address, kMaxBanner);
  }
  return {};
}

/// `buildId` is set as soon as it is known, for what is wrong after that.
Result<Kernel> attach(const KernelSpace& found, const Given& given, StepClock clock, Budget& budget,
                      std::optional<std::string>& buildId) {
  std::vector<AttachStep> steps;
  const std::string levels = ", " + std::to_string(found.space.levels()) + "-level paging";
  clock.finish(steps, "kernel", found.how, (found.info ? found.release : "its image") + levels);

  KernelMemory image(found.space);
  const KernelFile* const symbolFile = given.symbols();
  const auto foundSymbols =
      symbolFile ? symbolsOfFile(symbolFile->symbols, found) : findSymbols(image, found, budget);
  if (!foundSymbols && std::string_view(foundSymbols.error().code) == "PROFILE_MISMATCH") {
    const std::string banner = knownBanner(found);
    const auto release = found.info ? std::string_view(found.release) : releaseOfBanner(banner);
    const KernelIdentity guest{.release = release, .banner = banner, .symbolsLead = false};
    return tl::unexpected(given.mismatch(guest).value_or(foundSymbols.error()));
  }
  if (!foundSymbols) return tl::unexpected(foundSymbols.error());
  const Symbols& symbols = foundSymbols->symbols;
  clock.finish(steps, symbolFile ? "symbols" : "kallsyms", symbolFile ? symbolFile->path : foundSymbols->how,
               foundSymbols->found);

  std::string banner = symbols.linux_banner ? readString(image, *symbols.linux_banner, kMaxBanner) : "";
  buildId = readBuildId(image, symbols);
  if (auto mismatch = given.mismatch({found.release, banner, buildId}))
    return tl::unexpected(std::move(*mismatch));

  const auto ramEnd = ramEndOf(image, symbols);
  if (auto error = cutOff(found, symbols, ramEnd)) return tl::unexpected(std::move(*error));

  const AddressSpace space = ownSpace(found, symbols);
  KernelMemory memory(space);

  std::optional<Types> ownTypes;
  if (!given.types()) {
    auto types = typesOfGuest(memory, symbols, found.imageStart, budget);
    if (!types) return tl::unexpected(types.error());
    clock.finish(steps, "btf", types->how, std::to_string(types->btf.typeCount()) + " types");
    ownTypes.emplace(std::move(*types));
  }
  const TypeSource& types = ownTypes ? ownTypes->btf : *given.types()->types;

  Profile profile;
  auto layout = Layout::resolve(Profile::Recorder(types, profile));
  if (!layout) return tl::unexpected(layout.error());
  if (!typesFit(memory, *layout, *symbols.init_task)) {
    return failure("TYPES_INVALID", "The types do not fit this kernel: its first task does not read as one.",
                   kSupplyTypes);
  }
  clock.finish(
      steps, "layout", ownTypes ? "the types" : given.types()->path,
      layout->missing.empty() ? "every member" : std::to_string(layout->missing.size()) + " members missing");

  profile.symbols = linkedSymbols(symbols, found);
  if (!banner.empty()) profile.banner = banner;
  profile.buildId = buildId;
  return Kernel{
      .release = found.info ? found.release : std::string(releaseOfBanner(banner)),
      .banner = std::move(banner),
      .buildId = buildId,
      .physBase = found.physBase,
      .kaslrOffset = found.kaslrOffset,
      .typesFromGuest = ownTypes.has_value(),
      .symbolsFromGuest = symbolFile == nullptr,
      .profile = std::move(profile),
      .clock = readKernelClock(memory, symbols, *layout),
      .steps = std::move(steps),
      .space = space,
      .layout = std::move(*layout),
      .symbols = symbols,
      .ramEnd = ramEnd,
  };
}

/// Whoever has to supply types or symbols has to know of which kernel.
Error withRelease(Error error, const KernelSpace& found, const std::optional<std::string>& buildId) {
  constexpr std::array<std::string_view, 4> kOfThisKernel = {"SYMBOLS_NOT_FOUND", "TYPES_NOT_FOUND",
                                                             "TYPES_INVALID", "LAYOUT_INCOMPLETE"};
  const std::string release = found.info ? found.release : std::string(releaseOfBanner(knownBanner(found)));
  if (!release.empty() &&
      std::find(kOfThisKernel.begin(), kOfThisKernel.end(), error.code) != kOfThisKernel.end())
    error.message += " The guest's kernel is " + release + (buildId ? ", build id " + *buildId : "") + ".";
  return error;
}

/// What a search that was cut short says is not what is wrong.
std::optional<Error> ended(Budget& budget) {
  if (budget.spendLong()) return std::nullopt;
  if (budget.aborted()) return Error{"ABORTED", "Finding the kernel was aborted.", ""};
  return Error{
      "ATTACH_BUDGET", "The kernel was not found in the time that was given.",
      "Give it more (attachBudgetMs) if the image is large and its medium slow; a guest may also have "
      "been made to take long."};
}

}  // namespace

std::optional<uint64_t> readRamEnd(const Kernel& kernel) {
  const auto epoch = kernel.space.memory().epoch(kNoPass);
  KernelMemory memory(epoch ? kernel.space.over(*epoch) : kernel.space);
  return ramEndOf(memory, kernel.symbols);
}

std::optional<int64_t> readClock(const Kernel& kernel) {
  const auto epoch = kernel.space.memory().epoch(kNoPass);
  KernelMemory memory(epoch ? kernel.space.over(*epoch) : kernel.space);
  return readKernelClock(memory, kernel.symbols, kernel.layout);
}

Result<Kernel> findKernel(const PhysicalMemory& memory, const KernelOptions& options, Budget& budget) {
  const StepClock clock;
  const Given nothing;
  const Given& given = options.given ? *options.given : nothing;
  const auto spaces = findKernelSpaces(memory, budget);
  if (auto early = ended(budget)) return tl::unexpected(std::move(*early));
  if (!spaces) return tl::unexpected(spaces.error());

  // Nearly always there is one. What remains of others is often broken further down.
  std::optional<Kernel> latest;
  std::optional<Error> firstError;
  size_t kernels = 0;
  for (const KernelSpace& space : *spaces) {
    // One kernel's tables may be there as roots of four and of five levels: the first that works is right.
    if (latest && latest->physBase == space.physBase && latest->kaslrOffset == space.kaslrOffset) continue;
    ++kernels;
    std::optional<std::string> buildId;
    auto kernel = attach(space, given, clock, budget, buildId);
    if (auto early = ended(budget)) return tl::unexpected(std::move(*early));
    if (!kernel) {
      if (!firstError) firstError = withRelease(kernel.error(), space, buildId);
    } else if (!latest || kernel->clock > latest->clock) {
      latest.emplace(std::move(*kernel));
    }
  }
  if (!latest) return tl::unexpected(*firstError);
  if (kernels > 1) {
    latest->steps.front().how += "; the one with the latest clock of " + std::to_string(kernels) + " kernels";
  }
  if (given.types() || given.symbols()) {
    latest->steps.insert(latest->steps.begin(), {"given", "by content", given.describe(), given.elapsedNs()});
  }
  KernelMemory reader(latest->space);
  latest->boot = readBoot(reader, *latest);
  return std::move(*latest);
}

}  // namespace xfilter
