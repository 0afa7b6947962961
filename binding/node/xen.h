#pragma once

#include <napi.h>

#include "memory/xen.h"

namespace xfilter::node {

/// What a NativeDomainId of lib/native.ts says.
XenDomainId xenDomainId(const Napi::Object& given);

/// Those of lib/native.ts.
Napi::Value xenDomain(const Napi::CallbackInfo& info);
Napi::Value xenPause(const Napi::CallbackInfo& info);
Napi::Value xenUnpause(const Napi::CallbackInfo& info);
Napi::Value xenstoreRead(const Napi::CallbackInfo& info);
Napi::Value xenstoreList(const Napi::CallbackInfo& info);

}  // namespace xfilter::node
