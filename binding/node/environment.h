#pragma once

#include <napi.h>

#include "node/jobs.h"

namespace xfilter::node {

/// What this addon keeps in each JavaScript environment.
struct Environment {
  explicit Environment(Napi::Env env) : jobs(env), programs(env) {}

  Jobs jobs;
  /// Threads that wait for programs: however many of these are stuck, guests are read.
  Jobs programs;
  Napi::FunctionReference guestClass, watchClass;
};

inline Environment& environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

}  // namespace xfilter::node
