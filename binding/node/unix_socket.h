#pragma once

#include <napi.h>

namespace xfilter::node {

/// connectUnix(path) of lib/native.ts.
Napi::Value connectUnix(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
