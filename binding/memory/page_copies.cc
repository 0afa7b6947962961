#include "memory/page_copies.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace xfilter {
namespace {

constexpr size_t kMaxVectors = 1024;  // IOV_MAX
constexpr size_t kMaxWanted = 4096;
constexpr uint64_t kMaxBytes = uint64_t{512} << 20;
// What a buffer may go on holding that waits for the next epoch.
constexpr uint64_t kMaxKept = uint64_t{64} << 20;
constexpr size_t kMaxBuffers = 2;
// As many as a buffer may keep.
constexpr size_t kMaxExpected = kMaxKept / kPageSize;

}  // namespace

CopyBuffer::CopyBuffer(uint64_t pages)
    : loaded((pages + 63) / 64), viewed(loaded.size()), missing(loaded.size()), touched(loaded.size()) {
  void* const address = mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return;
  bytes = {static_cast<std::byte*>(address), pages * kPageSize};
  // A page here and there must not cost 2 MiB each.
  madvise(address, bytes.size(), MADV_NOHUGEPAGE);
}

CopyBuffer::~CopyBuffer() {
  if (!bytes.empty()) munmap(bytes.data(), bytes.size());
}

void CopyBuffer::empty() {
  madvise(bytes.data(), bytes.size(), MADV_DONTNEED);
  std::fill(touched.begin(), touched.end(), 0);
  touchedPages = 0;
}

std::unique_ptr<CopyBuffer> LiveMemory::takeBuffer() const {
  {
    const std::lock_guard lock(buffersMutex_);
    if (!buffers_.empty()) {
      auto buffer = std::move(buffers_.back());
      buffers_.pop_back();
      return buffer;
    }
  }
  return std::make_unique<CopyBuffer>(
      pieces_.empty() ? 0 : pieces_.back().firstPage + pieces_.back().size / kPageSize);
}

void LiveMemory::giveBack(std::unique_ptr<CopyBuffer> buffer) const {
  const std::lock_guard lock(buffersMutex_);
  if (buffers_.size() < kMaxBuffers) buffers_.push_back(std::move(buffer));
}

std::vector<PhysicalAddress> LiveMemory::expected(size_t pass) const {
  const std::lock_guard lock(buffersMutex_);
  const auto found = expected_.find(pass);
  return found == expected_.end() ? std::vector<PhysicalAddress>{} : found->second;
}

void LiveMemory::expect(size_t pass, std::vector<PhysicalAddress> pages) const {
  const std::lock_guard lock(buffersMutex_);
  expected_[pass] = std::move(pages);
}

PageCopies::PageCopies(const LiveMemory& source, uint64_t unit, size_t pass)
    : source_(source), unit_(unit), pass_(pass), buffer_(source.takeBuffer()) {
  if (pass == kNoPass) return;
  for (const PhysicalAddress page : source.expected(pass)) want(page);
}

PageCopies::~PageCopies() {
  if (buffer_->bytes.empty()) return;
  if (pass_ != kNoPass) source_.expect(pass_, std::move(viewedPages_));
  if (unit_ == kPageSize) {
    for (const uint64_t page : loadedPages_) {
      buffer_->loaded[page / 64] = buffer_->viewed[page / 64] = buffer_->missing[page / 64] = 0;
    }
  } else {
    std::fill(buffer_->loaded.begin(), buffer_->loaded.end(), 0);
  }
  // Each epoch's pages may be others.
  if (buffer_->touchedPages > kMaxKept / kPageSize) buffer_->empty();
  source_.giveBack(std::move(buffer_));
}

std::byte* PageCopies::copyOf(const Piece& piece, uint64_t offset) const {
  return buffer_->bytes.data() + piece.firstPage * kPageSize + offset;
}

void PageCopies::setLoaded(uint64_t firstPage, uint64_t count) const {
  for (uint64_t page = firstPage; page < firstPage + count; ++page) {
    const uint64_t bit = uint64_t{1} << (page % 64);
    buffer_->loaded[page / 64] |= bit;
    buffer_->touchedPages += (buffer_->touched[page / 64] & bit) == 0 ? 1 : 0;
    buffer_->touched[page / 64] |= bit;
    if (unit_ == kPageSize) loadedPages_.push_back(page);
  }
  bytes_ += count * kPageSize;
}

void PageCopies::setViewed(uint64_t page, PhysicalAddress address) const {
  uint64_t& word = buffer_->viewed[page / 64];
  const uint64_t bit = uint64_t{1} << (page % 64);
  if ((word & bit) != 0 || viewedPages_.size() == kMaxExpected) return;
  word |= bit;
  viewedPages_.push_back(address);
}

// Units are aligned in the guest's memory, where its large pages are.
PageCopies::Part PageCopies::unitAt(const Piece& piece, uint64_t offset) const {
  const uint64_t at = piece.start.value + offset;
  const uint64_t begin = std::max(at & ~(unit_ - 1), piece.start.value) - piece.start.value;
  const uint64_t end = std::min((at | (unit_ - 1)) + 1 - piece.start.value, piece.size);
  return {&piece, begin, end - begin};
}

std::span<const std::byte> PageCopies::view(PhysicalAddress address) const {
  const Piece* const piece = source_.pieceAt(address);
  if (piece == nullptr) return {};
  if (piece->bytes != nullptr) return source_.view(address);
  const uint64_t offset = address.value - piece->start.value;
  const Part unit = unitAt(*piece, offset);
  uint64_t end = unit.offset + unit.size;
  const auto isThere = [&](uint64_t at) { return isLoaded(piece->firstPage + at / kPageSize); };
  if (!isThere(unit.offset)) {
    wanted_.push_back(unit);
    load(wanted_);
    wanted_.clear();
    if (!isThere(unit.offset)) return {};
  }
  if (pass_ != kNoPass) setViewed(piece->firstPage + unit.offset / kPageSize, address);
  if (unit_ > kPageSize && end < piece->size) {
    const Part next = unitAt(*piece, end);
    if (!isThere(next.offset)) load(std::span(&next, 1));
    if (isThere(next.offset)) end += next.size;
  }
  return {copyOf(*piece, offset), static_cast<size_t>(end - offset)};
}

void PageCopies::want(PhysicalAddress address) const {
  const Piece* const piece = source_.pieceAt(address);
  if (piece == nullptr || piece->bytes != nullptr) return;
  const Part unit = unitAt(*piece, address.value - piece->start.value);
  if (isLoaded(piece->firstPage + unit.offset / kPageSize)) return;
  wanted_.push_back(unit);
  if (wanted_.size() < kMaxWanted) return;
  load(wanted_);
  wanted_.clear();
}

void PageCopies::refresh(PhysicalAddress address) const {
  const Piece* const piece = source_.pieceAt(address);
  if (piece == nullptr || piece->bytes != nullptr) return;
  const uint64_t offset = (address.value - piece->start.value) & ~(kPageSize - 1);
  if (!isLoaded(piece->firstPage + offset / kPageSize) || piece->present->run(offset) == 0) return;
  std::vector<Part> page = {{piece, offset, kPageSize}};
  copy(page);
}

/// Copies what of the parts is not here yet, holes as zeros.
void PageCopies::load(std::span<const Part> parts) const {
  if (buffer_->bytes.empty()) return;
  std::vector<Part> order(parts.begin(), parts.end());
  std::sort(order.begin(), order.end(), [](const Part& a, const Part& b) {
    return a.piece->firstPage * kPageSize + a.offset < b.piece->firstPage * kPageSize + b.offset;
  });
  std::vector<Part> present;
  uint64_t last = ~uint64_t{0};
  for (const Part& part : order) {
    const uint64_t first = part.piece->firstPage + part.offset / kPageSize;
    if (first == last || isLoaded(first) || isMissing(first)) continue;
    last = first;
    if (bytes_ + part.size > kMaxBytes) {
      exhausted_ = true;
      break;
    }
    uint64_t done = 0;
    while (done < part.size) {
      const uint64_t at = part.offset + done;
      const uint64_t run = std::min(part.piece->present->run(at), part.size - done);
      if (run > 0) {
        Part* const before = present.empty() ? nullptr : &present.back();
        if (before != nullptr && before->piece == part.piece && before->offset + before->size == at) {
          before->size += run;
        } else {
          present.push_back({part.piece, at, run});
        }
        done += run;
        continue;
      }
      std::memset(copyOf(*part.piece, part.offset + done), 0, kPageSize);
      done += kPageSize;
    }
    // Of what cannot be copied, `copy` takes the mark back.
    setLoaded(first, part.size / kPageSize);
  }
  copy(present);
}

void PageCopies::copy(std::vector<Part>& parts) const {
  std::array<iovec, kMaxVectors> local, remote;
  for (size_t first = 0; first < parts.size();) {
    const size_t count = std::min(kMaxVectors, parts.size() - first);
    for (size_t i = 0; i < count; ++i) {
      const Part& part = parts[first + i];
      local[i] = {copyOf(*part.piece, part.offset), part.size};
      remote[i] = {reinterpret_cast<void*>(part.piece->host + part.offset), part.size};
    }
    size_t copied = source_.process_->read(std::span(local).first(count), std::span(remote).first(count));
    size_t i = 0;
    while (i < count && copied >= parts[first + i].size) copied -= parts[first + i++].size;
    first += i;
    if (i == count) continue;
    // A page that the process has no more, or gives to nobody. By large units, it is like a hole.
    Part& part = parts[first];
    copied &= ~(kPageSize - 1);
    std::memset(copyOf(*part.piece, part.offset + copied), 0, kPageSize);
    const uint64_t page = part.piece->firstPage + (part.offset + copied) / kPageSize;
    if (unit_ == kPageSize) {
      buffer_->loaded[page / 64] &= ~(uint64_t{1} << (page % 64));
      buffer_->missing[page / 64] |= uint64_t{1} << (page % 64);
    }
    part.offset += copied + kPageSize;
    part.size -= copied + kPageSize;
    if (part.size == 0) ++first;
  }
}

void PageCopies::release(MemoryRange run) const {
  const Piece* const piece = source_.pieceAt(run.start);
  if (piece == nullptr) return;
  if (piece->bytes != nullptr) return source_.release(run);
  const uint64_t offset = run.start.value - piece->start.value;
  const uint64_t end = std::min(offset + run.size, piece->size) / kPageSize;
  const uint64_t begin = (offset + kPageSize - 1) / kPageSize;
  if (begin >= end) return;
  // Whole units only: one is there or not.
  for (uint64_t page = begin; page < end;) {
    const Part unit = unitAt(*piece, page * kPageSize);
    const uint64_t unitEnd = (unit.offset + unit.size) / kPageSize;
    if (unit.offset / kPageSize >= begin && unitEnd <= end &&
        isLoaded(piece->firstPage + unit.offset / kPageSize)) {
      for (uint64_t i = unit.offset / kPageSize; i < unitEnd; ++i) {
        const uint64_t index = piece->firstPage + i;
        buffer_->loaded[index / 64] &= ~(uint64_t{1} << (index % 64));
      }
      madvise(copyOf(*piece, unit.offset), unit.size, MADV_DONTNEED);
      bytes_ -= std::min(bytes_, unit.size);
    }
    page = unitEnd;
  }
}

Result<void> PageCopies::intact() const {
  if (buffer_->bytes.empty()) {
    return failure("OUT_OF_MEMORY", "There is no address space for as much as the guest's RAM.",
                   "Raise this process's limit (ulimit -v), or share the guest's memory (share=on).");
  }
  if (exhausted_) {
    return failure("OUT_OF_MEMORY", "A pass over the guest had to copy more than 512 MiB.",
                   "Share the guest's memory (share=on), which is read without copies.");
  }
  return source_.intact();
}

}  // namespace xfilter
