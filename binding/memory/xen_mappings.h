#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "memory/address.h"
#include "memory/keyed_hash.h"
#include "memory/xen.h"

namespace xfilter {

/// Which frames are asked for is the guest's choice.
struct FrameHash {
  size_t operator()(uint64_t frame) const {
    return keyed({reinterpret_cast<const char*>(&frame), sizeof frame});
  }
  KeyedHash keyed{};
};

/// Frames of one domain that are mapped here, until all are unmapped together.
///
/// Threads: for any number at once.
class XenMappings {
 public:
  /// As many pages and as many calls are made at most: each call is a mapping to Linux, which gives a process
  /// 65,530.
  static constexpr size_t kMaxPages = (size_t{512} << 20) / kPageSize;
  static constexpr size_t kMaxCalls = 32768;

  XenMappings(std::shared_ptr<const Xen> xen, uint32_t domain) : xen_(std::move(xen)), domain_(domain) {}
  XenMappings(const XenMappings&) = delete;
  XenMappings& operator=(const XenMappings&) = delete;
  ~XenMappings();

  /// The frame's bytes, and those of the frames behind it that lie behind it here, too; empty if it is not
  /// mapped.
  std::span<const std::byte> find(uint64_t frame);

  /// Maps those of the frames that are not, in one call; what the domain has not stays away. OUT_OF_MEMORY
  /// beyond the maxima, and the errors of Xen::map: then the domain may have what is not found.
  Result<void> map(std::vector<uint64_t> frames);

  /// How many pages there are, and how many mappings of this process hold them.
  size_t pages() const;
  size_t calls() const;
  /// Whether this process had no room for a further one.
  bool refused() const;

  /// The frames that were asked for, not just mapped.
  std::vector<uint64_t> used() const;

 private:
  struct Page {
    const std::byte* bytes = nullptr;
    uint32_t run = 0;  // pages from this one on that lie one behind the other in both
    bool used = false;
  };
  std::shared_ptr<const Xen> xen_;
  uint32_t domain_;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, Page, FrameHash> found_;
  std::vector<std::span<const std::byte>> calls_;
  bool refused_ = false;
};

}  // namespace xfilter
