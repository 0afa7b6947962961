#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "memory/file_descriptor.h"
#include "memory/physical_memory.h"
#include "memory/xen.h"
#include "memory/xen_mappings.h"
#include "memory/xen_store.h"

namespace xfilter {

/// The memory of a domain of Xen that runs, mapped page by page as it is asked for. Of a paravirtual guest it
/// is addressed by machine frames, as its page tables are; of any other by the guest's own.
///
/// Pages stay mapped from walk to walk. That pins them: what the guest gives back is not free while it is
/// mapped here, and what it gets in its place, under the same frame number, is another page. So each walk
/// begins by asking whether the domain has as many pages as it had (`session`), and maps anew if not, or if
/// its memory was to change (xenstore's `memory/target`). And of a domain that ends nothing would be left but
/// for these pages: xenstore tells when one ends (`@releaseDomain`), and all go.
class XenMemory final : public PhysicalMemory {
 public:
  /// Without `keepMappings`, each walk maps anew what the last one used, in one call, and all goes with its
  /// end. SOURCE_GONE; XEN_UNAVAILABLE without xenstore.
  static Result<std::unique_ptr<XenMemory>> open(std::shared_ptr<const Xen> xen,
                                                 std::unique_ptr<XenStore> store, const XenDomainId& domain,
                                                 bool keepMappings);
  ~XenMemory() override;

  std::span<const std::byte> view(PhysicalAddress) const override { return {}; }
  /// Of a paravirtual guest none: no one tells which of the machine's frames it has.
  std::span<const MemoryRange> ranges() const override { return ranges_; }
  uint64_t size() const override;
  MemoryRange nextStored(PhysicalAddress) const override { return {}; }
  void release(MemoryRange) const override {}
  bool live() const override { return true; }
  bool fetches() const override { return true; }
  Result<std::shared_ptr<const void>> session() const override;
  std::unique_ptr<PhysicalMemory> epoch(size_t pass) const override;
  std::unique_ptr<PhysicalMemory> scan() const override;
  bool scattered() const override { return scattered_; }
  /// As they are now.
  std::vector<VcpuRegisters> vcpus() const override;
  std::string_view format() const override { return "xen"; }
  Result<void> intact() const override;

  /// "256 MiB of a paravirtual domain"
  std::string describe() const;

 private:
  class Session;

  XenMemory(std::shared_ptr<const Xen> xen, std::unique_ptr<XenStore> store, const XenDomainState& state,
            bool keepMappings);
  Result<void> watch();
  void heed(const std::stop_token& stop);
  std::shared_ptr<XenMappings> mappings() const;
  void drop() const;

  std::shared_ptr<const Xen> xen_;
  XenDomainId domain_;
  bool scattered_;
  bool keepMappings_;
  std::vector<MemoryRange> ranges_;

  mutable std::mutex mutex_;  // for what follows
  mutable std::shared_ptr<XenMappings> kept_;
  mutable std::weak_ptr<XenMappings> current_;
  mutable std::vector<uint64_t> expected_;  // frames that the last walk used, where they were unmapped
  mutable uint64_t pages_;                  // that the domain had when the last walk began
  mutable bool ended_ = false;

  mutable std::atomic<bool> changed_ = false;
  std::unique_ptr<XenStore> store_;  // the thread's
  FileDescriptor wake_;
  std::jthread heeding_;
};

}  // namespace xfilter
