#pragma once

#include <napi.h>

#include <memory>
#include <mutex>

#include "kernel/attach_image.h"
#include "snapshot/difference.h"

namespace xfilter::node {

/// The NativeWatch of lib/native.ts: walks over a guest, of which JavaScript gets what changed from one to
/// the next. The rows stay on this side, so that a poll without a change costs JavaScript a promise.
class Watch : public Napi::ObjectWrap<Watch> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, const std::shared_ptr<const AttachedGuest>& guest);

  explicit Watch(const Napi::CallbackInfo& info);

 private:
  /// What the polls share. Polls come one after the other; the lock is for callers who do not keep to it.
  struct State {
    /// Weak: a watch that nobody polls any more keeps no closed guest. Only the environment's thread uses it.
    std::weak_ptr<const AttachedGuest> guest{};
    std::mutex mutex{};  // for what follows
    WalkResult last{};
  };

  Napi::Value poll(const Napi::CallbackInfo& info);
  /// Goes on with the guest as it was attached to anew.
  void moveTo(const Napi::CallbackInfo& info);

  std::shared_ptr<State> state_;
};

}  // namespace xfilter::node
