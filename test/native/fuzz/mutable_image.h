#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include "memory/elf_core.h"
#include "memory/physical_memory.h"

namespace xfilter::test {

/// The memory of an ELF core, in a private mapping that can be written to: the file stays as it is.
class MutableImage final : public PhysicalMemory {
 public:
  explicit MutableImage(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (fd < 0 || fstat(fd, &status) != 0) throw std::runtime_error("cannot open " + path);
    const auto size = static_cast<size_t>(status.st_size);
    void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    close(fd);
    if (address == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    file_ = {static_cast<std::byte*>(address), size};
    auto map = readElfCore(file_);
    if (!map) throw std::runtime_error(map.error().message);
    map_ = std::move(*map);
    for (const ImageSegment& segment : map_.segments) ranges_.push_back({segment.start, segment.size});
  }
  ~MutableImage() override { munmap(file_.data(), file_.size()); }

  /// The stored bytes from `address` to the end of its page.
  std::span<std::byte> page(PhysicalAddress address) const {
    const auto stored = storedFrom(address);
    return stored.first(std::min<size_t>(stored.size(), kPageSize - address.value % kPageSize));
  }

  std::span<const std::byte> view(PhysicalAddress address) const override {
    if (!recording_) return storedFrom(address);
    // Page by page, or a cache of large pages would hide what is read.
    pages_.insert(address.value & ~(kPageSize - 1));
    return page(address);
  }
  std::span<const MemoryRange> ranges() const override { return ranges_; }
  MemoryRange nextStored(PhysicalAddress address) const override {
    for (const ImageSegment& segment : map_.segments) {
      if (segment.start.value + segment.stored <= address.value) continue;
      const PhysicalAddress start = std::max(segment.start, address);
      return {start, segment.stored - (start.value - segment.start.value)};
    }
    return {};
  }
  void release(MemoryRange) const override {}
  std::string_view vmcoreinfoNote() const override {
    return withNotes ? map_.vmcoreinfoNote : std::string_view();
  }
  std::vector<VcpuRegisters> vcpus() const override {
    return withNotes ? map_.vcpus : std::vector<VcpuRegisters>();
  }
  std::string_view format() const override { return "elf"; }
  /// Whether it is read as a guest that runs is.
  bool isLive = false;
  bool live() const override { return isLive; }
  Result<void> intact() const override { return {}; }

  /// The pages that `work` reads.
  template <class Work>
  std::vector<uint64_t> pagesReadBy(Work work) {
    pages_.clear();
    recording_ = true;
    work();
    recording_ = false;
    return {pages_.begin(), pages_.end()};
  }

  bool withNotes = true;

 private:
  std::span<std::byte> storedFrom(PhysicalAddress address) const {
    for (const ImageSegment& segment : map_.segments) {
      const uint64_t offset = address.value - segment.start.value;
      if (address < segment.start || offset >= segment.stored) continue;
      return file_.subspan(segment.fileOffset + offset, segment.stored - offset);
    }
    return {};
  }

  std::span<std::byte> file_;
  ImageMap map_;
  std::vector<MemoryRange> ranges_;
  bool recording_ = false;
  mutable std::set<uint64_t> pages_;
};

/// Words of some pages overwritten with what hurts most, until the end of its life: other pointers of the
/// same kernel, the largest and the smallest numbers, single bits, noise.
class Mutation {
 public:
  Mutation(MutableImage& image, std::span<const uint64_t> pages, size_t words, std::mt19937_64& random) {
    std::vector<uint64_t> pointers = {0xffff'ffff'8100'0000};
    for (size_t i = 0; i < words; ++i) {
      const auto page = image.page({pages[random() % pages.size()]});
      if (page.size() < kPageSize) continue;
      std::byte* const place = page.data() + random() % (kPageSize / 8) * 8;
      uint64_t word = 0;
      std::memcpy(&word, place, sizeof word);
      old_.push_back({place, word});
      if (word >> 47 == 0x1ffff) pointers.push_back(word);
      const uint64_t pointer = pointers[random() % pointers.size()];
      const std::array<uint64_t, 8> choices = {word ^ uint64_t{1} << random() % 64,
                                               pointer,
                                               pointer + random() % 64 * 8,
                                               random(),
                                               0,
                                               ~uint64_t{0},
                                               uint64_t{0x7fff'ffff},
                                               word + random() % 200 * 8 - 800};
      std::memcpy(place, &choices[random() % choices.size()], sizeof word);
    }
  }
  ~Mutation() {
    for (auto at = old_.rbegin(); at != old_.rend(); ++at) std::memcpy(at->place, &at->word, sizeof at->word);
  }
  Mutation(const Mutation&) = delete;
  Mutation& operator=(const Mutation&) = delete;

 private:
  struct Old {
    std::byte* place;
    uint64_t word;
  };
  std::vector<Old> old_;
};

}  // namespace xfilter::test
