#include "fuzz/fuzz.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "elf_builder.h"
#include "fuzz/mutable_image.h"
#include "kernel/btf.h"
#include "kernel/kernel.h"
#include "kernel/kernel_space.h"
#include "kernel/page_table_scan.h"
#include "memory/image.h"
#include "snapshot/snapshot.h"
#include "walk/vcpus.h"
#include "xen_core_builder.h"

namespace xfilter::test {
namespace {

using Random = std::mt19937_64;
using Complaint = std::optional<std::string>;

constexpr std::chrono::seconds kTime(5);

/// An error must be one that is documented, and say something.
Complaint checkError(const Error& error, std::initializer_list<std::string_view> codes) {
  const bool known = std::find(codes.begin(), codes.end(), error.code) != codes.end();
  if (known && !error.message.empty() && !error.advice.empty()) return std::nullopt;
  return std::string("the error ") + error.code + ": " + error.message;
}

/// Each row's owners are those from the end of the row before.
Complaint checkOwners(const std::vector<uint32_t>& ends, const Snapshot::Owners& owners, size_t processes) {
  const bool ascending = std::is_sorted(ends.begin(), ends.end());
  const size_t last = ends.empty() ? 0 : ends.back();
  const bool known = std::all_of(owners.process.begin(), owners.process.end(),
                                 [&](uint32_t row) { return row < processes; });
  if (ascending && last == owners.process.size() && known) return std::nullopt;
  return "owners that belong to no row";
}

Complaint checkWalk(const Kernel& kernel, bool details) {
  auto result = walk(kernel, {.details = details, .budget = kTime}, {});
  if (!result) return checkError(result.error(), {"WALK_BUDGET", "GUEST_CHANGED"});
  const Snapshot snapshot = makeSnapshot(std::move(*result));
  const size_t processes = snapshot.processes.pid.size();
  if (auto complaint = checkOwners(snapshot.sockets.ownersEnd, snapshot.owners, processes)) return complaint;
  return checkOwners(snapshot.otherSockets.ownersEnd, snapshot.otherOwners, processes);
}

/// Sizes, offsets and counts as a hostile file would have them.
void breakBytes(std::string& file, Random& random) {
  // Headers and tables are at both ends, and pages between them are most of the file.
  const auto place = [&](size_t size) {
    const uint64_t end = std::max<size_t>(file.size() - size, 1);
    const std::array<uint64_t, 3> reaches = {std::min<uint64_t>(1024, end), std::min<uint64_t>(512, end),
                                             end};
    const uint64_t where = random() % reaches.size(), at = random() % reaches[where];
    return where == 1 ? end - 1 - at : at;
  };
  for (uint64_t i = 0, count = 1 + random() % 8; i < count; ++i) {
    const std::array<uint64_t, 5> words = {random(), random() % (1 << 16), ~uint64_t{0} - random() % 64,
                                           uint64_t{1} << random() % 64, 0};
    if (random() % 2) {
      file[place(1)] = static_cast<char>(random());
    } else {
      std::memcpy(file.data() + place(8), &words[random() % words.size()], sizeof words[0]);
    }
  }
  if (random() % 4 == 0) file.resize(random() % file.size());
}

std::string xenCore(bool paravirtual) {
  const std::string page(kPageSize, 'p');
  XenCoreBuilder core;
  core.add(".xen_prstatus", XenCoreBuilder::context({{0x200, 4}, {0x1390, 0x5000}}));
  core.add(".xen_pages", page + page + page);
  if (paravirtual) {
    core.words(".xen_p2m", {0, 7, 1, 8, 2, 3});
  } else {
    core.words(".xen_pfn", {0, 1, 0x10'0000});
  }
  return core.build();
}

Complaint readHeaders(Random& random) {
  const std::string page(kPageSize, 'p');
  const uint64_t kind = random() % 4;
  std::string file =
      kind < 2 ? xenCore(kind == 0)
               : ElfBuilder()
                     .note("VMCOREINFO", "OSRELEASE=6.1.0\nSYMBOL(swapper_pg_dir)=ffffffff82810000\n")
                     .note("QEMU", std::string(440, '\1'))
                     .load(0x1000, page + page)
                     .load(0x8000, page, 4 * kPageSize)
                     .load(0x1'0000'0000, page)
                     .build();
  breakBytes(file, random);
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, file.data(), file.size()) != static_cast<ssize_t>(file.size()))
    return "no memory file";
  const auto image = Image::open("/proc/self/fd/" + std::to_string(fd));
  close(fd);
  if (!image) return checkError(image.error(), {"SOURCE_FORMAT", "SOURCE_TRUNCATED"});
  unsigned sum = 0;
  for (int i = 0; i < 50; ++i) {
    const auto bytes = (*image)->view({random() % (1 << 16)});
    if (!bytes.empty()) sum += static_cast<unsigned>(bytes.front()) + static_cast<unsigned>(bytes.back());
  }
  PhysicalAddress at{0};
  for (MemoryRange run = (*image)->nextStored(at); run.size > 0; run = (*image)->nextStored(at)) {
    if (run.start < at) return "a scan that goes back";
    at = run.start + run.size;
    (*image)->release(run);
  }
  return sum == ~0U ? Complaint("a sum that cannot be") : std::nullopt;
}

}  // namespace

struct Fuzz::Guest {
  explicit Guest(const std::string& path) : image(path) {
    kernel.emplace(attach());
    attachPages = image.pagesReadBy([this] {
      attach();
      Budget budget({}, kTime);
      scanForPageTables(image, {1 << 20}, budget);
    });
    walkPages = image.pagesReadBy([this] { static_cast<void>(walk(*kernel, {.details = true}, {})); });
    KernelMemory memory(kernel->space);
    types.resize(kernel->symbols.stop_btf->value - kernel->symbols.start_btf->value);
    if (!memory.read(*kernel->symbols.start_btf, types.data(), types.size()))
      throw std::runtime_error("no types");
    Budget budget({}, kTime);
    space.emplace(findKernelSpaces(image, budget)->front());
    space->info.reset();
    symbolPages = image.pagesReadBy([this] { static_cast<void>(findSymbolsAgain()); });
  }

  Kernel attach() {
    Budget budget({}, kTime);
    auto found = findKernel(image, {}, budget);
    if (!found) throw std::runtime_error(found.error().message);
    return std::move(*found);
  }
  Result<FoundSymbols> findSymbolsAgain() {
    Budget budget({}, kTime);
    KernelMemory memory(space->space);
    return findSymbols(memory, *space, budget);
  }

  Complaint readTypes(Random& random) {
    std::string blob(reinterpret_cast<const char*>(types.data()), types.size());
    if (random() % 2) {
      breakBytes(blob, random);
    } else {
      // The header, or the strings' edge, and no more.
      std::string head = blob.substr(0, 64);
      breakBytes(head, random);
      blob.replace(0, head.size(), head);
    }
    const auto bytes = std::as_bytes(std::span(blob));
    const auto btf = Btf::parse({bytes.begin(), bytes.end()});
    if (!btf) return checkError(btf.error(), {"TYPES_INVALID"});
    const auto layout = Layout::resolve(*btf);
    return layout ? std::nullopt : checkError(layout.error(), {"LAYOUT_INCOMPLETE", "TYPES_INVALID"});
  }

  Complaint readSymbols(Random& random) {
    const Mutation mutation(image, symbolPages, size_t{1} << random() % 10, random);
    const auto found = findSymbolsAgain();
    return found ? std::nullopt : checkError(found.error(), {"SYMBOLS_NOT_FOUND"});
  }

  Complaint attachAndWalk(Random& random) {
    const Mutation mutation(image, attachPages, size_t{1} << random() % 8, random);
    image.withNotes = random() % 2;
    Budget budget({}, kTime);
    const auto found = findKernel(image, {}, budget);
    image.withNotes = true;
    if (!found) {
      return checkError(found.error(), {"KERNEL_NOT_FOUND", "SYMBOLS_NOT_FOUND", "TYPES_NOT_FOUND",
                                        "TYPES_INVALID", "LAYOUT_INCOMPLETE", "ATTACH_BUDGET"});
    }
    static_cast<void>(readVcpus(*found, image.vcpus(), {}));
    return checkWalk(*found, false);
  }

  Complaint walkAgain(Random& random) {
    const Mutation mutation(image, walkPages, size_t{1} << random() % 12, random);
    image.isLive = random() % 2;
    auto complaint = checkWalk(*kernel, random() % 2);
    image.isLive = false;
    return complaint;
  }

  MutableImage image;
  std::optional<Kernel> kernel;
  std::optional<KernelSpace> space;
  std::vector<uint64_t> attachPages, symbolPages, walkPages;
  std::vector<std::byte> types;
};

Fuzz::Fuzz(const std::string& image) : guest_(std::make_unique<Guest>(image)) {}
Fuzz::~Fuzz() = default;

const std::vector<std::string>& Fuzz::targets() {
  static const std::vector<std::string> names = {"headers", "types", "symbols", "attach", "walk"};
  return names;
}

Complaint Fuzz::round(const std::string& target, uint64_t seed) {
  Random random(seed);
  if (target == "headers") return readHeaders(random);
  if (target == "types") return guest_->readTypes(random);
  if (target == "symbols") return guest_->readSymbols(random);
  if (target == "attach") return guest_->attachAndWalk(random);
  return guest_->walkAgain(random);
}

}  // namespace xfilter::test
