#pragma once

#include <napi.h>

#include "kernel/given.h"

namespace xfilter::node {

/// The members `types`, `symbols` and `profile` of an object, each a NativeFile of lib/native.ts or
/// undefined.
GivenFiles givenFiles(const Napi::Object& options);

/// makeProfile(files) of lib/native.ts.
Napi::Value makeProfile(const Napi::CallbackInfo& info);

/// lacksBtf(path) of lib/native.ts.
Napi::Value lacksBtf(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
