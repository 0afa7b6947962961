#include "node/xen.h"

#include <charconv>
#include <functional>
#include <utility>
#include <variant>

#include "memory/xen_store.h"
#include "node/environment.h"

namespace xfilter::node {
namespace {

constexpr int kHex = 16;

std::string toHex(const std::array<uint8_t, 16>& uuid) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : uuid) {
    text += kDigits[byte / kHex];
    text += kDigits[byte % kHex];
  }
  return text;
}

Napi::Value toJs(Napi::Env env, std::optional<uint8_t> shutdown) {
  if (!shutdown) return env.Null();
  constexpr std::array<const char*, 5> kReasons = {"poweroff", "reboot", "suspend", "crash", "watchdog"};
  return Napi::String::New(env, *shutdown < kReasons.size() ? kReasons[*shutdown] : "other");
}

Napi::Value toJs(Napi::Env env, const std::optional<XenDomainState>& state) {
  if (!state) return env.Null();
  auto object = Napi::Object::New(env);
  object.Set("id", state->domain.id);
  object.Set("uuid", toHex(state->domain.uuid));
  object.Set("paused", state->paused);
  object.Set("shutdown", toJs(env, state->shutdown));
  object.Set("dying", state->dying);
  return object;
}

using Done = std::monostate;

/// A call of Xen as a job: quick, unless the hypervisor or its tools hang.
template <class T>
Napi::Value ask(Napi::Env env, std::function<Result<T>(const Xen&)> question,
                std::function<Napi::Value(Napi::Env, T)> convert) {
  return environment(env).jobs.start<T>(
      env,
      [question = std::move(question)](const std::stop_token&) -> Result<T> {
        const auto xen = Xen::shared();
        if (!xen) return tl::unexpected(xen.error());
        return question(**xen);
      },
      std::move(convert));
}

Napi::Value undefined(Napi::Env env, Done) { return env.Undefined(); }

}  // namespace

XenDomainId xenDomainId(const Napi::Object& given) {
  XenDomainId domain{.id = given.Get("id").ToNumber()};
  const std::string uuid = given.Get("uuid").ToString();
  for (size_t i = 0; i < domain.uuid.size() && 2 * i + 2 <= uuid.size(); ++i) {
    const char* const digits = uuid.data() + 2 * i;
    std::from_chars(digits, digits + 2, domain.uuid[i], kHex);
  }
  return domain;
}

Napi::Value xenDomain(const Napi::CallbackInfo& info) {
  return ask<std::optional<XenDomainState>>(
      info.Env(), [id = info[0].ToNumber().Uint32Value()](const Xen& xen) { return xen.domain(id); },
      [](Napi::Env env, const std::optional<XenDomainState>& state) { return toJs(env, state); });
}

Napi::Value xenPause(const Napi::CallbackInfo& info) {
  return ask<Done>(
      info.Env(),
      [domain = xenDomainId(info[0].ToObject())](const Xen& xen) {
        return xen.pause(domain).map([] { return Done(); });
      },
      undefined);
}

Napi::Value xenUnpause(const Napi::CallbackInfo& info) {
  return ask<Done>(
      info.Env(),
      [domain = xenDomainId(info[0].ToObject())](const Xen& xen) {
        return xen.unpause(domain).map([] { return Done(); });
      },
      undefined);
}

Napi::Value xenstoreRead(const Napi::CallbackInfo& info) {
  using Value = std::optional<std::string>;
  const Napi::Env env = info.Env();
  return environment(env).jobs.start<Value>(
      env,
      [path = info[0].ToString().Utf8Value()](const std::stop_token&) -> Result<Value> {
        return XenStore::open().and_then([&](const auto& store) { return store->read(path); });
      },
      [](Napi::Env e, const Value& value) -> Napi::Value {
        return value ? Napi::Value(Napi::String::New(e, *value)) : e.Null();
      });
}

Napi::Value xenstoreList(const Napi::CallbackInfo& info) {
  using Names = std::optional<std::vector<std::string>>;
  const Napi::Env env = info.Env();
  return environment(env).jobs.start<Names>(
      env,
      [path = info[0].ToString().Utf8Value()](const std::stop_token&) -> Result<Names> {
        return XenStore::open().and_then([&](const auto& store) { return store->list(path); });
      },
      [](Napi::Env e, const Names& names) -> Napi::Value {
        if (!names) return e.Null();
        auto list = Napi::Array::New(e, names->size());
        for (uint32_t i = 0; i < names->size(); ++i) list.Set(i, (*names)[i]);
        return list;
      });
}

}  // namespace xfilter::node
