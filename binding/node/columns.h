#pragma once

#include <napi.h>

#include "kernel/kernel.h"
#include "memory/physical_memory.h"
#include "snapshot/difference.h"
#include "snapshot/snapshot.h"
#include "walk/vcpus.h"

namespace xfilter::node {

/// The objects that lib/native.ts describes: NativeKernel, NativeSnapshot, NativeDifference and NativeCpu.
Napi::Value toJs(Napi::Env env, const Kernel& kernel, const PhysicalMemory& memory);
Napi::Value toJs(Napi::Env env, const Snapshot& snapshot);
Napi::Value toJs(Napi::Env env, const DifferenceColumns& difference);
Napi::Value toJs(Napi::Env env, const std::vector<VcpuTask>& vcpus);

}  // namespace xfilter::node
