#pragma once

#include <napi.h>

namespace xfilter::node {

/// runProgram(request) of lib/native.ts.
Napi::Value runProgram(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
