#include "node/given.h"

#include <algorithm>

#include "node/environment.h"

namespace xfilter::node {
namespace {

std::optional<GivenFile> givenFile(const Napi::Value& value) {
  if (!value.IsObject()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  GivenFile file{.path = object.Get("path").ToString().Utf8Value(), .content = {}};
  if (const Napi::Value content = object.Get("content"); content.IsTypedArray()) {
    // Copied: JavaScript may let go of its bytes, or change them, while a thread of ours reads.
    const auto bytes = content.As<Napi::Uint8Array>();
    const auto* data = reinterpret_cast<const std::byte*>(bytes.Data());
    file.content = std::make_shared<std::vector<std::byte>>(data, data + bytes.ByteLength());
  }
  return file;
}

}  // namespace

GivenFiles givenFiles(const Napi::Object& options) {
  return {.types = givenFile(options.Get("types")),
          .symbols = givenFile(options.Get("symbols")),
          .profile = givenFile(options.Get("profile"))};
}

Napi::Value makeProfile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return environment(env).jobs.start<std::string>(
      env,
      [files = givenFiles(info[0].As<Napi::Object>())](const std::stop_token&) {
        return Given::read(files).and_then([](const Given& given) { return given.profile(); });
      },
      [](Napi::Env e, const std::string& json) { return Napi::String::New(e, json); });
}

Napi::Value lacksBtf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return environment(env).jobs.start<bool>(
      env,
      [path = info[0].ToString().Utf8Value()](const std::stop_token&) {
        return KernelFile::read({path, {}}).map([](const KernelFile& file) { return file.onlyDwarf; });
      },
      [](Napi::Env e, bool lacks) { return Napi::Boolean::New(e, lacks); });
}

}  // namespace xfilter::node
