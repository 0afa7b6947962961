#include "memory/live_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "memory/huge_pages.h"
#include "memory/page_copies.h"
#include "memory/sigbus_guard.h"

namespace xfilter {
namespace {

constexpr uint64_t kLargePage = uint64_t{2} << 20;
// More than any guest has; what is kept for each page of it is memory of ours.
constexpr uint64_t kMaxRam = uint64_t{16} << 40;
// Runs of a scan: what it has not handed back stays in its resident set.
constexpr uint64_t kMaxRun = uint64_t{64} << 20;

// hugetlbfs calls all of a file data.
bool tellsHoles(int file) { return hugePageSize(file) == 0; }

}  // namespace

LiveMemory::Mapping::~Mapping() {
  sigbus_guard::remove(guard);
  munmap(const_cast<std::byte*>(bytes.data()), bytes.size());
}

LiveMemory::LiveMemory(std::shared_ptr<const HostProcess> process) : process_(std::move(process)) {}

LiveMemory::~LiveMemory() = default;

Result<std::unique_ptr<LiveMemory>> LiveMemory::open(std::shared_ptr<const HostProcess> process,
                                                     std::vector<RamRegion> regions) {
  const auto mappings = process->mappings();
  if (!mappings) return tl::unexpected(mappings.error());
  std::unique_ptr<LiveMemory> memory(new LiveMemory(std::move(process)));
  std::sort(regions.begin(), regions.end(),
            [](const RamRegion& a, const RamRegion& b) { return a.start < b.start; });
  uint64_t lastEnd = 0, bytes = 0;
  for (const RamRegion& region : regions) {
    const uint64_t end = region.start.value + region.size;
    bytes += region.size;
    if (region.size == 0 || (region.start.value | region.size | region.host) % kPageSize != 0 ||
        end < region.start.value || region.host + region.size < region.host || region.start.value < lastEnd ||
        region.size > kMaxRam || bytes > kMaxRam) {
      return failure("RAM_UNKNOWN", "What QEMU says of where the guest's RAM lies cannot be.",
                     "Report it, with the output of `info mtree -f` of its monitor.");
    }
    lastEnd = end;
    if (const auto added = memory->add(region, *mappings); !added) return tl::unexpected(added.error());
  }
  uint64_t pages = 0;
  for (Piece& piece : memory->pieces_) {
    piece.firstPage = pages;
    pages += piece.size / kPageSize;
  }
  if (memory->copied_ > 0) {
    if (const auto readable = memory->process_->readable(); !readable)
      return tl::unexpected(readable.error());
  }
  return memory;
}

Result<void> LiveMemory::add(const RamRegion& region, std::span<const ProcessMapping> mappings) {
  const uint64_t end = region.host + region.size;
  uint64_t at = region.host;
  for (const ProcessMapping& mapping : mappings) {
    if (mapping.end <= at) continue;
    if (at >= end || mapping.start > at || !mapping.readable) break;
    const uint64_t part = std::min(end, mapping.end) - at;
    if (auto added = addPart({region.start + (at - region.host), part, at}, mapping); !added) return added;
    at += part;
  }
  if (at < end) {
    return failure(
        "PROCESS_UNKNOWN",
        "Process " + std::to_string(process_->pid()) +
            " is not the QEMU that runs the guest: it has no memory where QEMU says the guest's is.",
        "If libvirt made the monitor's socket, give QEMU's process id instead (qemu:pid:PID).");
  }
  ranges_.push_back({region.start, region.size});
  return {};
}

Result<void> LiveMemory::addPart(const RamRegion& part, const ProcessMapping& mapping) {
  Piece piece{.start = part.start, .size = part.size, .host = part.host};
  const uint64_t inMapping = part.host - mapping.start;
  const uint64_t phase = part.start.value % kLargePage;
  if (mapping.shared) {
    const auto mapped = map(mapping);
    if (!mapped) return tl::unexpected(mapped.error());
    if (*mapped != nullptr) {
      const int file = tellsHoles((*mapped)->file.get()) ? (*mapped)->file.get() : -1;
      piece.bytes = (*mapped)->bytes.data() + inMapping;
      piece.present = std::make_unique<RamPresence>(*process_, second_, part.host, part.size, phase, file,
                                                    mapping.fileOffset + inMapping);
    }
  }
  if (piece.bytes == nullptr) {
    if (mapping.inode != 0) piece.backing = process_->openMapped(mapping);
    const int file = piece.backing && tellsHoles(piece.backing.get()) ? piece.backing.get() : -1;
    piece.present = std::make_unique<RamPresence>(*process_, second_, part.host, part.size, phase, file,
                                                  mapping.fileOffset + inMapping);
  }
  (piece.bytes != nullptr ? mapped_ : copied_) += part.size;
  pieces_.push_back(std::move(piece));
  return {};
}

// Null if the file cannot be opened: its pages can be copied all the same.
Result<const LiveMemory::Mapping*> LiveMemory::map(const ProcessMapping& mapping) {
  for (const auto& [start, known] : mappings_) {
    if (start == mapping.start) return known.get();
  }
  FileDescriptor file = process_->openMapped(mapping);
  struct stat status = {};
  if (!file || fstat(file.get(), &status) != 0) return nullptr;
  const uint64_t end = mapping.fileOffset + mapping.size();
  if (static_cast<uint64_t>(status.st_size) < end) {
    return failure("SOURCE_TRUNCATED", mapping.path + ", the guest's memory, was cut off.",
                   "The guest cannot go on without it: start it again.");
  }
  void* const address = mmap(nullptr, mapping.size(), PROT_READ, MAP_SHARED | MAP_NORESERVE, file.get(),
                             static_cast<off_t>(mapping.fileOffset));
  if (address == MAP_FAILED) {
    return failure("SOURCE_IO", "Cannot map " + mapping.path + ": " + std::strerror(errno) + ".",
                   "Check this process's limit of address space (ulimit -v).");
  }
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(address), mapping.size());
  const int guard = sigbus_guard::add(bytes, file.get());
  if (guard < 0) {
    munmap(address, mapping.size());
    return failure("SOURCE_IO", "Too many guests are open in this process.", "Close guests that are done.");
  }
  mappings_.emplace_back(mapping.start, std::make_unique<Mapping>(std::move(file), bytes, end, guard));
  return mappings_.back().second.get();
}

const LiveMemory::Piece* LiveMemory::pieceAt(PhysicalAddress address) const {
  const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                      [](PhysicalAddress a, const Piece& p) { return a < p.start; });
  if (after == pieces_.begin()) return nullptr;
  const Piece& piece = *(after - 1);
  return address.value - piece.start.value < piece.size ? &piece : nullptr;
}

std::span<const std::byte> LiveMemory::view(PhysicalAddress address) const {
  const Piece* const piece = pieceAt(address);
  if (piece == nullptr || piece->bytes == nullptr) return {};
  const uint64_t offset = address.value - piece->start.value;
  const uint64_t run = piece->present->run(offset);
  if (run > 0) return {piece->bytes + offset, static_cast<size_t>(run)};
  return std::span(kHole).subspan(address.value % kPageSize);
}

MemoryRange LiveMemory::nextStored(PhysicalAddress address) const {
  lookAtClock();
  auto piece =
      std::lower_bound(pieces_.begin(), pieces_.end(), address,
                       [](const Piece& p, PhysicalAddress a) { return p.start.value + p.size <= a.value; });
  for (; piece != pieces_.end(); ++piece) {
    const uint64_t skip = address > piece->start ? address.value - piece->start.value : 0;
    const uint64_t first = piece->present->next(skip);
    uint64_t size = 0;
    while (first + size < piece->size && size < kMaxRun) {
      const uint64_t run = piece->present->run(first + size);
      if (run == 0) break;
      size += run;
    }
    if (size > 0) return {piece->start + first, size};
  }
  return {};
}

void LiveMemory::release(MemoryRange run) const {
  const Piece* const piece = pieceAt(run.start);
  if (piece == nullptr || piece->bytes == nullptr) return;
  const uint64_t offset = run.start.value - piece->start.value;
  const uint64_t size = std::min(run.size, piece->size - offset) & ~(kPageSize - 1);
  madvise(const_cast<std::byte*>(piece->bytes + offset), size, MADV_DONTNEED);
}

void LiveMemory::lookAtClock() const {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  second_.store(std::chrono::duration_cast<std::chrono::seconds>(now).count(), std::memory_order_relaxed);
}

std::unique_ptr<PhysicalMemory> LiveMemory::epoch(size_t pass) const {
  lookAtClock();
  if (!fetches()) return nullptr;
  return std::make_unique<PageCopies>(*this, kPageSize, pass);
}

std::unique_ptr<PhysicalMemory> LiveMemory::scan() const {
  if (!fetches()) return nullptr;
  return std::make_unique<PageCopies>(*this, kLargePage, kNoPass);
}

Result<void> LiveMemory::intact() const {
  for (const auto& [start, mapping] : mappings_) {
    struct stat status = {};
    const bool whole =
        fstat(mapping->file.get(), &status) == 0 && static_cast<uint64_t>(status.st_size) >= mapping->fileEnd;
    if (whole && !sigbus_guard::hit(mapping->guard)) continue;
    return failure("SOURCE_TRUNCATED", "The file of the guest's memory was cut off while it was in use.",
                   "The guest cannot go on without it: start it again, and attach again.");
  }
  if (!process_->alive()) {
    return failure("SOURCE_GONE", "QEMU's process " + std::to_string(process_->pid()) + " has ended.",
                   "Attach again when the guest runs again.");
  }
  return {};
}

std::string LiveMemory::describe() const {
  constexpr uint64_t kMebibyte = uint64_t{1} << 20;
  std::string text;
  if (mapped_ > 0) text = std::to_string(mapped_ / kMebibyte) + " MiB mapped";
  if (copied_ > 0) text += (text.empty() ? "" : ", ") + std::to_string(copied_ / kMebibyte) + " MiB copied";
  return text;
}

}  // namespace xfilter
