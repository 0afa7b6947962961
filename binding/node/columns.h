#pragma once

#include <napi.h>

#include "kernel/kernel.h"
#include "memory/physical_memory.h"
#include "snapshot/snapshot.h"

namespace xfilter::node {

/// The objects that lib/native.ts describes: NativeKernel and NativeSnapshot.
Napi::Value toJs(Napi::Env env, const Kernel& kernel, const PhysicalMemory& memory);
Napi::Value toJs(Napi::Env env, const Snapshot& snapshot);

}  // namespace xfilter::node
