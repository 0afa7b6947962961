#include <napi.h>

#include "node/environment.h"
#include "node/file_lock.h"
#include "node/given.h"
#include "node/guest.h"
#include "node/run_program.h"
#include "node/unix_socket.h"
#include "node/watch.h"
#include "node/xen.h"

// lib/native.ts describes what this exports.
static Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* environment = new xfilter::node::Environment(env);
  environment->guestClass = Napi::Persistent(xfilter::node::Guest::define(env));
  environment->watchClass = Napi::Persistent(xfilter::node::Watch::define(env));
  env.SetInstanceData(environment);
  exports.Set("attach", Napi::Function::New<xfilter::node::attach>(env));
  exports.Set("lockFile", Napi::Function::New<xfilter::node::lockFile>(env));
  exports.Set("connectUnix", Napi::Function::New<xfilter::node::connectUnix>(env));
  exports.Set("makeProfile", Napi::Function::New<xfilter::node::makeProfile>(env));
  exports.Set("lacksBtf", Napi::Function::New<xfilter::node::lacksBtf>(env));
  exports.Set("runProgram", Napi::Function::New<xfilter::node::runProgram>(env));
  exports.Set("xenDomain", Napi::Function::New<xfilter::node::xenDomain>(env));
  exports.Set("xenPause", Napi::Function::New<xfilter::node::xenPause>(env));
  exports.Set("xenUnpause", Napi::Function::New<xfilter::node::xenUnpause>(env));
  exports.Set("xenstoreRead", Napi::Function::New<xfilter::node::xenstoreRead>(env));
  exports.Set("xenstoreList", Napi::Function::New<xfilter::node::xenstoreList>(env));
  return exports;
}

NODE_API_MODULE(xfilter_core, init)
