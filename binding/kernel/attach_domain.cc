#include "kernel/attach_domain.h"

#include <chrono>

#include "kernel/attach_memory.h"
#include "memory/xen_memory.h"

namespace xfilter {

Result<AttachedGuest> attachDomain(const DomainOptions& domain, const KernelOptions& options,
                                   Budget& budget) {
  const auto start = std::chrono::steady_clock::now();
  auto xen = Xen::shared();
  if (!xen) return tl::unexpected(xen.error());
  auto store = XenStore::open();
  if (!store) return tl::unexpected(store.error());
  auto memory = XenMemory::open(std::move(*xen), std::move(*store), domain.domain, domain.keepMappings);
  if (!memory) return tl::unexpected(memory.error());
  const std::chrono::nanoseconds elapsed = std::chrono::steady_clock::now() - start;
  AttachStep opened{"memory", "Xen's domain " + std::to_string(domain.domain.id), (*memory)->describe(),
                    static_cast<uint64_t>(elapsed.count())};
  auto guest = attachMemory(std::move(*memory), std::move(opened), options, budget);
  if (guest && domain.running) return requireRunning(std::move(*guest), budget);
  return guest;
}

}  // namespace xfilter
