#pragma once

#include <napi.h>

namespace xfilter::node {

/// lockFile(path) of lib/native.ts.
Napi::Value lockFile(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
