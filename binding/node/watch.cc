#include "node/watch.h"

#include <optional>
#include <utility>

#include "node/columns.h"
#include "node/environment.h"
#include "node/guest.h"

namespace xfilter::node {

Napi::Function Watch::define(Napi::Env env) {
  return DefineClass(env, "NativeWatch",
                     {InstanceMethod<&Watch::poll>("poll"), InstanceMethod<&Watch::moveTo>("moveTo")});
}

Napi::Value Watch::create(Napi::Env env, const std::shared_ptr<const AttachedGuest>& guest) {
  auto state = std::make_shared<State>();
  state->guest = guest;
  return environment(env).watchClass.New({Napi::External<std::shared_ptr<State>>::New(env, &state)});
}

Watch::Watch(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Watch>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "NativeWatch is made by watch()");
  }
  state_ = std::move(*info[0].As<Napi::External<std::shared_ptr<State>>>().Data());
}

void Watch::moveTo(const Napi::CallbackInfo& info) {
  if (const auto guest = Guest::shared(info[0])) state_->guest = guest;
}

Napi::Value Watch::poll(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const WalkOptions options = walkOptions(info[0].As<Napi::Object>());
  const auto guest = state_->guest.lock();
  if (!guest) throw closed(env);
  return environment(env).jobs.start<std::optional<DifferenceColumns>>(
      env,
      [state = state_, guest,
       options](const std::stop_token& stop) -> Result<std::optional<DifferenceColumns>> {
        const std::lock_guard lock(state->mutex);
        auto walked = walkGuest(*guest, options, stop);
        if (!walked) return tl::unexpected(walked.error());
        auto difference = compare(state->last, *walked);
        state->last = std::move(*walked);
        if (difference.empty()) return std::nullopt;
        return makeColumns(std::move(difference));
      },
      [](Napi::Env e, const std::optional<DifferenceColumns>& difference) {
        return difference ? toJs(e, *difference) : e.Null();
      },
      guest.get());
}

}  // namespace xfilter::node
