#include "memory/ram_presence.h"

#include <unistd.h>

#include <algorithm>
#include <bit>

#include "memory/address.h"

namespace xfilter {

RamPresence::RamPresence(const HostProcess& process, const Seconds& now, uint64_t address, uint64_t size,
                         uint64_t phase, int file, uint64_t fileOffset)
    : process_(process),
      now_(now),
      address_(address),
      size_(size),
      phase_(phase),
      file_(file),
      fileOffset_(fileOffset),
      blocks_(std::make_unique<Block[]>((phase + size + kBlock - 1) / kBlock)) {}

RamPresence::Block& RamPresence::fresh(uint64_t index) const {
  Block& block = blocks_[index];
  const int64_t time = now_.load(std::memory_order_relaxed);
  if (block.asked.load(std::memory_order_acquire) == time) return block;
  // The first block may begin before the piece does: what lies there in the process is never asked for.
  std::array<uint64_t, kWords> words;
  process_.residentPages(address_ - phase_ + index * kBlock, words);
  for (size_t i = 0; i < kWords; ++i) block.present[i].store(words[i], std::memory_order_relaxed);
  block.asked.store(time, std::memory_order_release);
  return block;
}

bool RamPresence::inFile(uint64_t offset) const {
  const auto at = static_cast<off_t>(fileOffset_ + offset);
  return file_ >= 0 && lseek(file_, at, SEEK_DATA) == at;
}

bool RamPresence::nowInProcess(uint64_t offset) const {
  std::array<uint64_t, 1> word;
  process_.residentPages(address_ + offset, word);
  return word[0] & 1;
}

uint64_t RamPresence::run(uint64_t offset) const {
  const uint64_t place = phase_ + (offset & ~(kPageSize - 1));
  Block& block = fresh(place / kBlock);
  const uint64_t first = place % kBlock / kPageSize;
  const auto word = [&](uint64_t page) { return block.present[page / 64].load(std::memory_order_relaxed); };
  if (!(word(first) >> (first % 64) & 1)) {
    if (!inFile(place - phase_) && !nowInProcess(place - phase_)) return 0;
    block.present[first / 64].fetch_or(uint64_t{1} << (first % 64), std::memory_order_relaxed);
  }
  uint64_t page = first + 1;
  while (page < kBlock / kPageSize) {
    const uint64_t rest = ~(word(page) >> (page % 64));
    const auto ones = std::min<uint64_t>(std::countr_zero(rest), 64 - page % 64);
    page += ones;
    if (ones == 0 || page % 64 != 0) break;
  }
  const uint64_t end = std::min(size_, place / kBlock * kBlock + page * kPageSize - phase_);
  return end - offset;
}

uint64_t RamPresence::next(uint64_t offset) const {
  while (offset < size_) {
    if (run(offset) > 0) return offset;
    if (file_ >= 0) {
      const off_t data = lseek(file_, static_cast<off_t>(fileOffset_ + offset), SEEK_DATA);
      if (data < 0) return size_;
      const uint64_t found = static_cast<uint64_t>(data) - fileOffset_;
      if (found > offset) {
        offset = found & ~(kPageSize - 1);
        continue;
      }
    }
    const uint64_t place = phase_ + offset;
    const Block& block = fresh(place / kBlock);
    uint64_t page = place % kBlock / kPageSize + 1;
    while (page < kBlock / kPageSize) {
      const uint64_t rest = block.present[page / 64].load(std::memory_order_relaxed) >> (page % 64);
      if (rest != 0) {
        page += std::countr_zero(rest);
        break;
      }
      page = (page / 64 + 1) * 64;
    }
    offset = place / kBlock * kBlock + page * kPageSize - phase_;
  }
  return size_;
}

}  // namespace xfilter
