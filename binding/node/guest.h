#pragma once

#include <napi.h>

#include <memory>
#include <stop_token>

#include "kernel/attach_image.h"
#include "walk/walk.h"

namespace xfilter::node {

/// The NativeGuest of lib/native.ts. Jobs share what it holds, so that closing it never takes the memory away
/// under a walk.
class Guest : public Napi::ObjectWrap<Guest> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, std::shared_ptr<const AttachedGuest> guest);

  /// What a NativeGuest holds; empty if it is closed.
  static std::shared_ptr<const AttachedGuest> shared(const Napi::Value& value);

  explicit Guest(const Napi::CallbackInfo& info);

 private:
  Napi::Value kernel(const Napi::CallbackInfo& info);
  Napi::Value profile(const Napi::CallbackInfo& info);
  Napi::Value walk(const Napi::CallbackInfo& info);
  Napi::Value cpus(const Napi::CallbackInfo& info);
  Napi::Value watch(const Napi::CallbackInfo& info);
  void requireIntact(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  void requireOpen(Napi::Env env) const;

  std::shared_ptr<const AttachedGuest> guest_;
};

/// What a call on a closed guest throws.
Napi::Error closed(Napi::Env env);

/// What the NativeWalkOptions of lib/native.ts say.
WalkOptions walkOptions(const Napi::Object& given);

/// A walk over memory that turned out not to be the guest's has no result.
Result<WalkResult> walkGuest(const AttachedGuest& guest, const WalkOptions& options,
                             const std::stop_token& stop);

/// attach(options) of lib/native.ts.
Napi::Value attach(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
