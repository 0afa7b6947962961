#include "node/guest.h"

#include <utility>

#include "kernel/attach_domain.h"
#include "kernel/attach_live.h"
#include "node/columns.h"
#include "node/environment.h"
#include "node/given.h"
#include "node/watch.h"
#include "node/xen.h"
#include "snapshot/snapshot.h"
#include "walk/vcpus.h"
#include "walk/walk.h"

namespace xfilter::node {
namespace {

using GuestPointer = std::shared_ptr<const AttachedGuest>;

/// The time that `budgetMs` gives.
std::chrono::nanoseconds budgetOf(const Napi::Object& options) {
  const double milliseconds = options.Get("budgetMs").ToNumber();
  return std::chrono::nanoseconds(static_cast<int64_t>(milliseconds * 1e6));
}

Result<std::vector<VcpuTask>> readCpus(const AttachedGuest& guest, const std::stop_token& stop) {
  const auto session = guest.memory->session();
  if (!session) return tl::unexpected(session.error());
  auto vcpus = readVcpus(guest.kernel, guest.memory->vcpus(), stop);
  if (const auto intact = guest.memory->intact(); !intact) return tl::unexpected(intact.error());
  return vcpus;
}

uint64_t bigint(const Napi::Object& object, const char* name) {
  bool lossless = false;
  return object.Get(name).As<Napi::BigInt>().Uint64Value(&lossless);
}

/// Empty for a target that is no domain of Xen.
std::optional<DomainOptions> domainOptions(const Napi::Object& given) {
  const Napi::Value domain = given.Get("domain");
  if (!domain.IsObject()) return std::nullopt;
  const auto fields = domain.As<Napi::Object>();
  return DomainOptions{.domain = xenDomainId(fields),
                       .keepMappings = fields.Get("keepMappings").ToBoolean(),
                       .running = given.Get("running").ToBoolean()};
}

/// Empty for a target that is no process.
std::optional<LiveOptions> liveOptions(const Napi::Object& given) {
  const Napi::Value process = given.Get("process");
  if (!process.IsObject()) return std::nullopt;
  const auto fields = process.As<Napi::Object>();
  LiveOptions options{
      .pid = fields.Get("pid").ToNumber(), .regions = {}, .running = given.Get("running").ToBoolean()};
  const auto regions = fields.Get("regions").As<Napi::Array>();
  for (uint32_t i = 0; i < regions.Length(); ++i) {
    const auto region = regions.Get(i).As<Napi::Object>();
    options.regions.push_back({{bigint(region, "start")}, bigint(region, "size"), bigint(region, "host")});
  }
  return options;
}

ImageOptions imageOptions(const Napi::Object& given) {
  ImageOptions options{.path = given.Get("path").ToString().Utf8Value()};
  const Napi::Value map = given.Get("memoryMap");
  if (!map.IsArray()) return options;
  const auto entries = map.As<Napi::Array>();
  for (uint32_t i = 0; i < entries.Length(); ++i) {
    const auto entry = entries.Get(i).As<Napi::Object>();
    options.memoryMap.push_back({{bigint(entry, "start")}, bigint(entry, "size"), bigint(entry, "offset")});
  }
  return options;
}

}  // namespace

Napi::Error closed(Napi::Env env) {
  return {env, toJs(env, Error{"CLOSED", "The guest is closed.", "Attach to it again with introspect()."})};
}

WalkOptions walkOptions(const Napi::Object& given) {
  return {.details = given.Get("details").ToBoolean(),
          .paused = given.Get("paused").ToBoolean(),
          .budget = budgetOf(given)};
}

Result<WalkResult> walkGuest(const AttachedGuest& guest, const WalkOptions& options,
                             const std::stop_token& stop) {
  const auto session = guest.memory->session();
  if (!session) return tl::unexpected(session.error());
  if (guest.memory->live() && readRamEnd(guest.kernel) != guest.kernel.ramEnd) {
    if (const auto intact = guest.memory->intact(); !intact) return tl::unexpected(intact.error());
    return failure("GUEST_CHANGED", "The guest has other RAM than it had.", "Attach to it again.");
  }
  auto result = xfilter::walk(guest.kernel, options, stop);
  if (const auto intact = guest.memory->intact(); !intact) return tl::unexpected(intact.error());
  return result;
}

Napi::Function Guest::define(Napi::Env env) {
  return DefineClass(
      env, "NativeGuest",
      {InstanceAccessor<&Guest::kernel>("kernel"), InstanceAccessor<&Guest::profile>("profile"),
       InstanceMethod<&Guest::walk>("walk"), InstanceMethod<&Guest::cpus>("cpus"),
       InstanceMethod<&Guest::watch>("watch"), InstanceMethod<&Guest::requireIntact>("requireIntact"),
       InstanceMethod<&Guest::close>("close")});
}

// The shared pointer travels to the constructor inside an External: JavaScript cannot make one.
Napi::Value Guest::create(Napi::Env env, GuestPointer guest) {
  return environment(env).guestClass.New({Napi::External<GuestPointer>::New(env, &guest)});
}

GuestPointer Guest::shared(const Napi::Value& value) { return Unwrap(value.As<Napi::Object>())->guest_; }

Guest::Guest(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Guest>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "NativeGuest is made by attach()");
  }
  guest_ = std::move(*info[0].As<Napi::External<GuestPointer>>().Data());
}

Napi::Value Guest::kernel(const Napi::CallbackInfo& info) {
  if (!guest_) return info.Env().Undefined();
  return toJs(info.Env(), guest_->kernel, *guest_->memory);
}

void Guest::requireOpen(Napi::Env env) const {
  if (!guest_) throw closed(env);
}

Napi::Value Guest::profile(const Napi::CallbackInfo& info) {
  if (!guest_) return info.Env().Undefined();
  return Napi::String::New(info.Env(), guest_->kernel.profile.toJson());
}

Napi::Value Guest::walk(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  requireOpen(env);
  const WalkOptions options = walkOptions(info[0].As<Napi::Object>());
  return environment(env).jobs.start<Snapshot>(
      env,
      [guest = guest_, options](const std::stop_token& stop) {
        return walkGuest(*guest, options, stop).map(makeSnapshot);
      },
      [](Napi::Env e, const Snapshot& snapshot) { return toJs(e, snapshot); }, guest_.get());
}

Napi::Value Guest::cpus(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  requireOpen(env);
  return environment(env).jobs.start<std::vector<VcpuTask>>(
      env, [guest = guest_](const std::stop_token& stop) { return readCpus(*guest, stop); },
      [](Napi::Env e, const std::vector<VcpuTask>& vcpus) { return toJs(e, vcpus); }, guest_.get());
}

Napi::Value Guest::watch(const Napi::CallbackInfo& info) {
  requireOpen(info.Env());
  return Watch::create(info.Env(), guest_);
}

void Guest::requireIntact(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  requireOpen(env);
  if (const auto intact = guest_->memory->intact(); !intact)
    throw Napi::Error(env, toJs(env, intact.error()));
}

void Guest::close(const Napi::CallbackInfo&) { guest_.reset(); }

Napi::Value attach(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto given = info[0].As<Napi::Object>();
  return environment(env).jobs.start<GuestPointer>(
      env,
      [image = imageOptions(given), live = liveOptions(given), domain = domainOptions(given),
       files = givenFiles(given),
       time = budgetOf(given)](const std::stop_token& stop) -> Result<GuestPointer> {
        auto outside = Given::read(files);
        if (!outside) return tl::unexpected(outside.error());
        const KernelOptions options{.given = std::make_shared<const Given>(std::move(*outside))};
        Budget budget(stop, time);
        auto guest = live     ? attachLive(*live, options, budget)
                     : domain ? attachDomain(*domain, options, budget)
                              : attachImage(image, options, budget);
        if (!guest) return tl::unexpected(guest.error());
        return std::make_shared<const AttachedGuest>(std::move(*guest));
      },
      [](Napi::Env e, GuestPointer guest) { return Guest::create(e, std::move(guest)); });
}

}  // namespace xfilter::node
