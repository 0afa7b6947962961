#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "memory/vcpu_registers.h"
#include "memory/xen_libraries.h"

namespace xfilter {

/// One domain as long as its machine runs. After a reboot of the guest the uuid is the same and the id
/// another.
struct XenDomainId {
  uint32_t id = 0;
  std::array<uint8_t, 16> uuid{};

  bool operator==(const XenDomainId&) const = default;
};

/// A domain as it is now (`struct xen_domctl_getdomaininfo`).
struct XenDomainState {
  XenDomainId domain;
  /// Page tables hold the machine's frames; of any other they hold the guest's own.
  bool paravirtual = false;
  bool paused = false;
  /// Destroyed; what is left of it waits for those who have pages of it mapped.
  bool dying = false;
  /// Why the guest has shut down, if it has (`sched.h`): 0 power off, 1 reboot, 2 suspend, 3 crash,
  /// 4 watchdog.
  std::optional<uint8_t> shutdown{};
  uint64_t pages = 0;
  uint32_t vcpus = 0;

  /// Whether the memory is still the guest's: one that is saved or migrated away stands still in it.
  bool lasts() const {
    constexpr uint8_t kSuspend = 2;
    return !dying && (!shutdown || *shutdown == kSuspend);
  }
};

/// This machine's hypervisor, as its Dom0 may use it.
///
/// Threads: for any number at once.
class Xen {
 public:
  /// The one that this process shares, opened when it is first asked for and kept: to open it takes longer
  /// than what it is asked, and a guest may be standing still meanwhile. XEN_UNAVAILABLE where this is no
  /// Dom0 or its libraries are not those of the Xen that runs; SOURCE_PERMISSION.
  static Result<std::shared_ptr<const Xen>> shared();

  /// By these functions, which outlive it.
  static Result<std::shared_ptr<const Xen>> open(const XenLibraries& functions);

  Xen(const Xen&) = delete;
  Xen& operator=(const Xen&) = delete;
  ~Xen();

  /// Empty if there is no domain of this id. One hypercall.
  Result<std::optional<XenDomainState>> domain(uint32_t id) const;

  /// SOURCE_GONE if the domain has ended, or was never there. One hypercall.
  Result<XenDomainState> require(const XenDomainId& domain) const;

  /// The registers of each virtual CPU; those of one that cannot be told are zeros. Each is stopped by Xen
  /// for as long as its registers are read.
  std::vector<VcpuRegisters> registers(const XenDomainState& state) const;

  /// The highest frame number that the guest knows; of a guest that is not paravirtual.
  uint64_t lastFrame(uint32_t id) const;

  /// Pauses are counted: each needs an `unpause` of its own, which works as long as there is the domain, if
  /// its guest has shut down, too. SOURCE_GONE, SOURCE_PERMISSION.
  Result<void> pause(const XenDomainId& domain) const;
  Result<void> unpause(const XenDomainId& domain) const;

  /// Maps frames of a domain to read them, one after the other. `errors`, of as many, gets 0 for each that is
  /// there; to touch one that is not raises SIGBUS. A frame that is mapped is its domain's until it is
  /// unmapped, whatever becomes of both. OUT_OF_MEMORY where this process may have no more mappings, which
  /// says nothing of the frames; SOURCE_PERMISSION, XEN_UNAVAILABLE.
  Result<std::span<const std::byte>> map(uint32_t id, std::span<const uint64_t> frames,
                                         std::span<int> errors) const;
  void unmap(std::span<const std::byte> pages) const;

 private:
  Xen(const XenLibraries& functions, void* control, void* foreign)
      : functions_(functions), control_(control), foreign_(foreign) {}

  const XenLibraries& functions_;
  void* control_;
  void* foreign_;
};

}  // namespace xfilter
