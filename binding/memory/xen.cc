#include "memory/xen.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <mutex>

#include "memory/address.h"
#include "memory/elf_header.h"
#include "memory/xen_vcpu.h"

namespace xfilter {
namespace {

// struct xen_domctl_getdomaininfo (Xen's public/domctl.h), as far as it is read: these have been its first
// members, unchanged, since Xen 4.3. What follows them changes, so there is room for more.
constexpr size_t kStateRoom = 1024;
constexpr uint64_t kId = 0;
constexpr uint64_t kFlags = 4;
constexpr uint64_t kTotalPages = 8;
constexpr uint64_t kMaxVcpuId = 68;
constexpr uint64_t kHandle = 76;
constexpr uint32_t kDying = 1 << 0;  // XEN_DOMINF_*
constexpr uint32_t kHvmGuest = 1 << 1;
constexpr uint32_t kShutdown = 1 << 2;
constexpr uint32_t kPaused = 1 << 3;
constexpr int kShutdownShift = 16;

constexpr uint32_t kMaxVcpus = 8192;
// A context of any kind of guest: vcpu_guest_context_any_t is a union of them.
constexpr size_t kContextRoom = 8192;

// struct xentoollog_logger: without one of ours, Xen's libraries write to stderr, which is not theirs.
struct Logger {
  void (*message)(Logger*, int level, int error, const char* context, const char* format, va_list arguments);
  void (*progress)(Logger*, const char* context, const char* what, int percent, unsigned long done,
                   unsigned long total);
  void (*destroy)(Logger*);
};
Logger silent = {[](Logger*, int, int, const char*, const char*, va_list) {},
                 [](Logger*, const char*, const char*, int, unsigned long, unsigned long) {}, [](Logger*) {}};

bool isRefusal(int error) { return error == EACCES || error == EPERM; }

tl::unexpected<Error> refused(int error) {
  if (isRefusal(error)) {
    return failure("SOURCE_PERMISSION", "Xen's control of other domains is refused to this process.",
                   "Run this as root in Dom0: no other domain may, unless Xen's security policy says so.");
  }
  return failure("XEN_UNAVAILABLE", std::string("Xen does not answer: ") + std::strerror(error) + ".",
                 "Run this in Dom0, with /dev/xen/privcmd (the module xen-privcmd).");
}

Error gone(const XenDomainId& domain) {
  return {"SOURCE_GONE", "The domain " + std::to_string(domain.id) + " has ended.",
          "Attach again when the guest runs again: a reboot gives it another id."};
}

XenDomainState stateOf(std::span<const std::byte> info) {
  const auto word = [&](uint64_t offset) { return at<uint32_t>(info, offset).value_or(0); };
  const uint32_t flags = word(kFlags);
  XenDomainState state{.domain = {.id = at<uint16_t>(info, kId).value_or(0)},
                       .paravirtual = (flags & kHvmGuest) == 0,
                       .paused = (flags & kPaused) != 0,
                       .dying = (flags & kDying) != 0,
                       .pages = at<uint64_t>(info, kTotalPages).value_or(0),
                       .vcpus = std::min(word(kMaxVcpuId) + 1, kMaxVcpus)};  // without any it is ~0
  std::memcpy(state.domain.uuid.data(), info.data() + kHandle, state.domain.uuid.size());
  if ((flags & kShutdown) != 0) state.shutdown = static_cast<uint8_t>(flags >> kShutdownShift);
  return state;
}

}  // namespace

Result<std::shared_ptr<const Xen>> Xen::shared() {
  static std::mutex mutex;
  // Not destroyed: at the process's end, too, a thread may still be asking.
  static auto& known = *new std::shared_ptr<const Xen>;
  const std::lock_guard lock(mutex);
  if (known) return known;
  const auto functions = XenLibraries::load();
  if (!functions) return tl::unexpected(functions.error());
  auto xen = open(**functions);
  if (xen) known = *xen;
  return xen;
}

Result<std::shared_ptr<const Xen>> Xen::open(const XenLibraries& functions) {
  void* const control = functions.controlOpen(&silent, &silent, 0);
  if (control == nullptr) return refused(errno);
  void* const foreign = functions.foreignOpen(&silent, 0);
  const int error = errno;
  if (foreign == nullptr) {
    functions.controlClose(control);
    return refused(error);
  }
  return std::shared_ptr<const Xen>(new Xen(functions, control, foreign));
}

Xen::~Xen() {
  functions_.foreignClose(foreign_);
  functions_.controlClose(control_);
}

Result<std::optional<XenDomainState>> Xen::domain(uint32_t id) const {
  alignas(uint64_t) std::array<std::byte, kStateRoom> info{};
  const int count = functions_.domainInfo(control_, id, 1, info.data());
  if (count < 0) return refused(errno);
  if (count == 0) return std::optional<XenDomainState>();
  // The first domain from this id on, which may be a later one.
  const XenDomainState state = stateOf(info);
  return state.domain.id == id ? std::optional(state) : std::nullopt;
}

Result<XenDomainState> Xen::require(const XenDomainId& wanted) const {
  const auto state = domain(wanted.id);
  if (!state) return tl::unexpected(state.error());
  if (!*state || (*state)->domain != wanted || !(*state)->lasts()) return tl::unexpected(gone(wanted));
  return **state;
}

std::vector<VcpuRegisters> Xen::registers(const XenDomainState& state) const {
  std::vector<VcpuRegisters> registers;
  for (uint32_t vcpu = 0; vcpu < state.vcpus; ++vcpu) {
    alignas(uint64_t) std::array<std::byte, kContextRoom> context{};
    if (functions_.vcpuContext(control_, state.domain.id, vcpu, context.data()) != 0) context.fill({});
    registers.push_back(readXenVcpu(std::span(context).first(kXenContextSize), state.paravirtual));
  }
  return registers;
}

uint64_t Xen::lastFrame(uint32_t id) const {
  unsigned long frame = 0;
  return functions_.lastFrame(control_, id, &frame) < 0 ? 0 : frame;
}

Result<void> Xen::pause(const XenDomainId& domain) const {
  if (const auto state = require(domain); !state) return tl::unexpected(state.error());
  if (functions_.pause(control_, domain.id) == 0) return {};
  if (errno == ESRCH) return tl::unexpected(gone(domain));
  return refused(errno);
}

Result<void> Xen::unpause(const XenDomainId& wanted) const {
  const auto state = domain(wanted.id);
  if (!state) return tl::unexpected(state.error());
  if (!*state || (*state)->domain != wanted) return tl::unexpected(gone(wanted));
  if (functions_.unpause(control_, wanted.id) == 0) return {};
  if (errno == ESRCH) return tl::unexpected(gone(wanted));
  return refused(errno);
}

Result<std::span<const std::byte>> Xen::map(uint32_t id, std::span<const uint64_t> frames,
                                            std::span<int> errors) const {
  void* const pages = functions_.map(foreign_, id, PROT_READ, frames.size(), frames.data(), errors.data());
  if (pages != nullptr) return std::span(static_cast<const std::byte*>(pages), frames.size() * kPageSize);
  if (errno != ENOMEM) return refused(errno);
  return failure("OUT_OF_MEMORY", "This process may have no more mappings of a domain's memory.",
                 "Raise vm.max_map_count, or watch fewer domains by one process.");
}

void Xen::unmap(std::span<const std::byte> pages) const {
  functions_.unmap(foreign_, const_cast<std::byte*>(pages.data()), pages.size() / kPageSize);
}

}  // namespace xfilter
