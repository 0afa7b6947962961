#pragma once

#include <string>
#include <utility>

#include "tl/expected.hpp"

namespace xfilter {

/// What went wrong, as a value. The core throws nothing on its own account; binding/node/ turns this into a
/// rejected promise whose error carries the same three parts.
struct Error {
  /// Stable, part of the public interface: the names of lib/errors.ts.
  const char* code;
  /// What happened, one sentence.
  std::string message;
  /// What the user can do about it, one sentence.
  std::string advice;
};

template <class T>
using Result = tl::expected<T, Error>;

inline tl::unexpected<Error> failure(const char* code, std::string message, std::string advice) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(advice)});
}

}  // namespace xfilter
