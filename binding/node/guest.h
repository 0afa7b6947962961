#pragma once

#include <napi.h>

#include <memory>

#include "kernel/kernel.h"
#include "memory/image.h"

namespace xfilter::node {

/// A guest's memory and the kernel found in it. Jobs share it, so that closing a guest never takes the memory
/// away under a walk.
struct AttachedGuest {
  std::unique_ptr<PhysicalMemory> memory;
  Kernel kernel;
};

/// The NativeGuest of lib/native.ts.
class Guest : public Napi::ObjectWrap<Guest> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value create(Napi::Env env, std::shared_ptr<const AttachedGuest> guest);

  explicit Guest(const Napi::CallbackInfo& info);

 private:
  Napi::Value kernel(const Napi::CallbackInfo& info);
  Napi::Value walk(const Napi::CallbackInfo& info);
  Napi::Value cpus(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  void requireOpen(Napi::Env env) const;

  std::shared_ptr<const AttachedGuest> guest_;
};

/// attach(options) of lib/native.ts.
Napi::Value attach(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
