#pragma once

#include "kernel/attach_image.h"
#include "memory/xen.h"

namespace xfilter {

struct DomainOptions {
  XenDomainId domain{};
  /// Whether pages stay mapped from walk to walk: XenMemory.
  bool keepMappings = true;
  /// Whether the kernel has to be seen to run.
  bool running = false;
};

/// Opens the memory of a domain of Xen that runs and finds the kernel in it: by the registers of its virtual
/// CPUs first, which Xen always tells.
///
/// Errors: those of Xen::shared, XenMemory::open and findKernel; GUEST_CHANGED if the kernel does not run.
Result<AttachedGuest> attachDomain(const DomainOptions& domain, const KernelOptions& options, Budget& budget);

}  // namespace xfilter
