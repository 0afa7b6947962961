#include "memory/xen_mappings.h"

#include <algorithm>

namespace xfilter {

XenMappings::~XenMappings() {
  for (const auto& pages : calls_) xen_->unmap(pages);
}

std::span<const std::byte> XenMappings::find(uint64_t frame) {
  const std::lock_guard lock(mutex_);
  const auto page = found_.find(frame);
  if (page == found_.end()) return {};
  page->second.used = true;
  return {page->second.bytes, page->second.run * kPageSize};
}

Result<void> XenMappings::map(std::vector<uint64_t> frames) {
  const std::lock_guard lock(mutex_);
  std::sort(frames.begin(), frames.end());
  frames.erase(std::unique(frames.begin(), frames.end()), frames.end());
  std::erase_if(frames, [&](uint64_t frame) { return found_.contains(frame); });
  if (frames.empty()) return {};
  if (found_.size() + frames.size() > kMaxPages || calls_.size() == kMaxCalls) {
    return failure("OUT_OF_MEMORY", "A pass over the guest had to map more than 512 MiB.",
                   "No walk needs as much: the guest's lists may be lying.");
  }
  std::vector<int> errors(frames.size(), -1);
  const auto mapped = xen_->map(domain_, frames, errors);
  if (!mapped) {
    refused_ = true;
    return tl::unexpected(mapped.error());
  }
  const auto pages = *mapped;
  // How many frames are asked for in vain is the guest's choice.
  if (std::find(errors.begin(), errors.end(), 0) == errors.end()) {
    xen_->unmap(pages);
    return {};
  }
  calls_.push_back(pages);
  uint32_t run = 0;
  for (size_t i = frames.size(); i-- > 0;) {
    const bool goesOn = run > 0 && frames[i] + 1 == frames[i + 1];
    run = errors[i] != 0 ? 0 : goesOn ? run + 1 : 1;
    if (run > 0) found_[frames[i]] = {.bytes = pages.data() + i * kPageSize, .run = run};
  }
  return {};
}

size_t XenMappings::pages() const {
  const std::lock_guard lock(mutex_);
  return found_.size();
}

size_t XenMappings::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_.size();
}

bool XenMappings::refused() const {
  const std::lock_guard lock(mutex_);
  return refused_;
}

std::vector<uint64_t> XenMappings::used() const {
  const std::lock_guard lock(mutex_);
  std::vector<uint64_t> frames;
  for (const auto& [frame, page] : found_) {
    if (page.used) frames.push_back(frame);
  }
  return frames;
}

}  // namespace xfilter
