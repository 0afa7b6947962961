#include "memory/xen_memory.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <unordered_set>
#include <utility>

#include "memory/address.h"

namespace xfilter {
namespace {

constexpr uint64_t kFrameLimit = uint64_t{1} << (52 - 12);
// How many frames an attach maps together. A paravirtual guest's neighbours may be another domain's.
constexpr uint64_t kWindow = 512;
constexpr uint64_t kScatteredWindow = 64;
constexpr size_t kMaxWanted = 4096;
// What is forgotten is asked for again, at the cost of a call of Xen.
constexpr size_t kMaxAsked = size_t{1} << 18;
// Kept from walk to walk: beyond, the next maps what it uses.
constexpr size_t kMaxKeptPages = (size_t{256} << 20) / kPageSize;
constexpr size_t kMaxKeptCalls = XenMappings::kMaxCalls / 2;
// What is scanned where registers lead nowhere. How far frame numbers go is the guest's choice.
constexpr size_t kMaxScannedPages = XenMappings::kMaxPages / 2;
constexpr size_t kMaxScannedWindows = (uint64_t{8} << 30) / kPageSize / kWindow;

constexpr char kReleased[] = "@releaseDomain";

/// What a pass reads from: maps what it was asked for with the first page that is missing.
class XenPass final : public PhysicalMemory {
 public:
  XenPass(const XenMemory& source, std::shared_ptr<XenMappings> mappings, uint64_t unit)
      : source_(source), mappings_(std::move(mappings)), unit_(unit) {}

  std::span<const std::byte> view(PhysicalAddress address) const override {
    const uint64_t frame = address.value / kPageSize;
    Recent& recent = recent_[frame % recent_.size()];
    if (recent.frame != frame) {
      auto bytes = mappings_->find(frame);
      if (bytes.empty()) {
        want(address);
        fetch();
        bytes = mappings_->find(frame);
      }
      if (bytes.empty()) return {};
      recent = {frame, bytes};
    }
    return recent.bytes.subspan(address.value % kPageSize);
  }

  void want(PhysicalAddress address) const override {
    const uint64_t frame = address.value / kPageSize;
    // What was not there is not there for the rest of the pass.
    if (frame >= kFrameLimit || !asked_.insert(frame / unit_).second) return;
    const uint64_t first = frame & ~(unit_ - 1);
    for (uint64_t next = first; next < first + unit_; ++next) wanted_.push_back(next);
    if (wanted_.size() >= kMaxWanted) fetch();
    if (asked_.size() == kMaxAsked) asked_.clear();
  }

  MemoryRange nextStored(PhysicalAddress address) const override {
    if (unit_ == 1) return {};
    for (const MemoryRange& range : source_.ranges()) {
      const uint64_t end = range.start.value + range.size;
      for (uint64_t at = std::max(range.start, address).value & ~(kPageSize - 1); at < end; at += kPageSize) {
        const auto bytes = view({at});
        if (!bytes.empty()) return {{at}, std::min<uint64_t>(bytes.size(), end - at)};
        if (asked_.size() >= kMaxScannedWindows || mappings_->pages() >= kMaxScannedPages) return {};
      }
    }
    return {};
  }

  std::span<const MemoryRange> ranges() const override { return source_.ranges(); }
  uint64_t size() const override { return source_.size(); }
  void release(MemoryRange) const override {}
  bool live() const override { return true; }
  bool fetches() const override { return true; }
  bool scattered() const override { return source_.scattered(); }
  std::vector<VcpuRegisters> vcpus() const override { return source_.vcpus(); }
  std::string_view format() const override { return source_.format(); }

  // Whether the domain is still there its memory is asked once a walk, not by each pass: it is a call of Xen.
  Result<void> intact() const override { return intact_; }

 private:
  /// Page tables are looked at again and again; what all threads share takes a lock.
  struct Recent {
    uint64_t frame = ~uint64_t{0};
    std::span<const std::byte> bytes{};
  };

  void fetch() const {
    if (wanted_.empty()) return;
    if (auto mapped = mappings_->map(std::exchange(wanted_, {})); !mapped && intact_) intact_ = mapped;
  }

  const XenMemory& source_;
  std::shared_ptr<XenMappings> mappings_;
  uint64_t unit_;  // frames that are mapped together
  mutable std::array<Recent, 512> recent_{};
  mutable std::vector<uint64_t> wanted_;
  mutable std::unordered_set<uint64_t, FrameHash> asked_;  // units
  mutable Result<void> intact_{};
};

}  // namespace

/// A walk's hold on pages that go with its end.
class XenMemory::Session {
 public:
  Session(const XenMemory& memory, std::shared_ptr<XenMappings> mappings)
      : memory_(memory), mappings_(std::move(mappings)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() {
    const std::lock_guard lock(memory_.mutex_);
    memory_.expected_ = mappings_->used();
  }

 private:
  const XenMemory& memory_;
  std::shared_ptr<XenMappings> mappings_;
};

Result<std::unique_ptr<XenMemory>> XenMemory::open(std::shared_ptr<const Xen> xen,
                                                   std::unique_ptr<XenStore> store, const XenDomainId& domain,
                                                   bool keepMappings) {
  const auto state = xen->require(domain);
  if (!state) return tl::unexpected(state.error());
  std::unique_ptr<XenMemory> memory(new XenMemory(std::move(xen), std::move(store), *state, keepMappings));
  if (const auto watched = memory->watch(); !watched) return tl::unexpected(watched.error());
  return memory;
}

XenMemory::XenMemory(std::shared_ptr<const Xen> xen, std::unique_ptr<XenStore> store,
                     const XenDomainState& state, bool keepMappings)
    : xen_(std::move(xen)),
      domain_(state.domain),
      scattered_(state.paravirtual),
      keepMappings_(keepMappings),
      pages_(state.pages),
      store_(std::move(store)) {
  if (scattered_) return;
  const uint64_t frames = std::min(xen_->lastFrame(domain_.id) + 1, kFrameLimit);
  ranges_.push_back({{0}, frames * kPageSize});
}

XenMemory::~XenMemory() = default;

Result<void> XenMemory::watch() {
  const std::string target = "/local/domain/" + std::to_string(domain_.id) + "/memory/target";
  wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
  if (!wake_ || store_->descriptor() < 0 || !store_->watch(kReleased) || !store_->watch(target)) {
    return failure("XEN_UNAVAILABLE", "xenstore does not tell when a domain ends.",
                   "Run this as root in Dom0, where xenstored runs.");
  }
  heeding_ = std::jthread([this](const std::stop_token& stop) { heed(stop); });
  return {};
}

// On a thread of its own: between two walks nobody else asks, and a domain that has ended is not gone before
// its pages are.
void XenMemory::heed(const std::stop_token& stop) {
  const std::stop_callback onStop(stop, [this] { eventfd_write(wake_.get(), 1); });
  std::array<pollfd, 2> waited = {pollfd{.fd = store_->descriptor(), .events = POLLIN, .revents = 0},
                                  pollfd{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
  while (!stop.stop_requested()) {
    if (poll(waited.data(), waited.size(), -1) < 0) continue;
    // Without xenstore, each walk still asks for itself.
    if ((waited[0].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) return drop();
    for (const std::string& path : store_->events()) {
      if (path != kReleased) {
        changed_ = true;
      } else if (!xen_->require(domain_)) {
        return drop();
      }
    }
  }
}

void XenMemory::drop() const {
  std::shared_ptr<XenMappings> unmapped;
  const std::lock_guard lock(mutex_);
  ended_ = true;
  unmapped = std::exchange(kept_, nullptr);
}

std::shared_ptr<XenMappings> XenMemory::mappings() const {
  if (auto mappings = current_.lock()) return mappings;
  auto mappings = std::make_shared<XenMappings>(xen_, domain_.id);
  current_ = mappings;
  if (keepMappings_ && !ended_) kept_ = mappings;
  return mappings;
}

Result<std::shared_ptr<const void>> XenMemory::session() const {
  const auto state = xen_->require(domain_);
  if (!state) {
    drop();
    return tl::unexpected(state.error());
  }
  const std::lock_guard lock(mutex_);
  const bool tooMuch = kept_ && kept_->pages() > kMaxKeptPages;
  const bool inPieces = kept_ && (kept_->calls() > kMaxKeptCalls || kept_->refused());
  if (changed_.exchange(false) || state->pages != pages_ || tooMuch || inPieces) {
    if (kept_ && !tooMuch) expected_ = kept_->used();
    kept_.reset();  // before what it held is mapped again: a process may have so many mappings
    current_.reset();
  }
  pages_ = state->pages;
  const bool fresh = current_.expired();
  auto walks = mappings();
  if (fresh && !expected_.empty()) walks->map(std::exchange(expected_, {}));
  if (keepMappings_) return walks;
  return std::make_shared<const Session>(*this, std::move(walks));
}

std::unique_ptr<PhysicalMemory> XenMemory::epoch(size_t /*pass*/) const {
  const std::lock_guard lock(mutex_);
  return std::make_unique<XenPass>(*this, mappings(), 1);
}

std::unique_ptr<PhysicalMemory> XenMemory::scan() const {
  return std::make_unique<XenPass>(*this, std::make_shared<XenMappings>(xen_, domain_.id),
                                   scattered_ ? kScatteredWindow : kWindow);
}

std::vector<VcpuRegisters> XenMemory::vcpus() const {
  const auto state = xen_->require(domain_);
  return state ? xen_->registers(*state) : std::vector<VcpuRegisters>();
}

Result<void> XenMemory::intact() const {
  const auto state = xen_->require(domain_);
  if (!state) {
    drop();
    return tl::unexpected(state.error());
  }
  return {};
}

uint64_t XenMemory::size() const {
  const std::lock_guard lock(mutex_);
  return pages_ * kPageSize;
}

std::string XenMemory::describe() const {
  return std::to_string(size() >> 20) + " MiB of a " +
         (scattered_ ? "paravirtual domain" : "domain in hardware's containment");
}

}  // namespace xfilter
