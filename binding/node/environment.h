#pragma once

#include <napi.h>

#include "node/jobs.h"

namespace xfilter::node {

/// What this addon keeps in each JavaScript environment.
struct Environment {
  explicit Environment(Napi::Env env) : jobs(env) {}

  Jobs jobs;
  Napi::FunctionReference guestClass, watchClass;
};

inline Environment& environment(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

}  // namespace xfilter::node
