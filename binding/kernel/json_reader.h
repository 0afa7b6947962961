#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace xfilter {

/// Reads JSON (RFC 8259) from front to back and makes no tree of it: a file of 60 MB of which a few hundred
/// values are wanted costs one pass and no memory. Integers keep all their 64 bits, which those of JavaScript
/// do not; addresses of kernels need them.
///
///     reader.object([&](std::string_view key) {
///       if (key == "size") size = reader.integer();
///       else reader.skip();
///     });
///
/// The callback reads or skips exactly one value. The first thing that is not as asked for or not JSON makes
/// `ok()` false, for good: every call then returns at once.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text, size_t at = 0) : text_(text), at_(at) {}

  bool ok() const { return ok_; }
  /// Where the next value begins; a reader that starts there reads it.
  size_t position();
  /// Whether nothing but white space is left.
  bool atEnd();

  /// A key is good until the next string is read.
  template <class Visit>
  void object(Visit&& visit) {
    if (!enter('{')) return;
    for (bool first = true; next('}', first); first = false) {
      const auto key = stringView();
      if (!key || !punctuation(':')) return fail();
      visit(*key);
    }
    --depth_;
  }

  template <class Visit>
  void array(Visit&& visit) {
    if (!enter('[')) return;
    for (bool first = true; next(']', first); first = false) visit();
    --depth_;
  }

  std::optional<std::string> string();
  std::optional<bool> boolean();
  /// Reads a null, if it is one; anything else is left to be read.
  bool null() { return word("null"); }
  /// An integer from -2^63 to 2^64-1, as two's complement. A number with a fraction or an exponent is none.
  std::optional<uint64_t> integer();
  /// The same, from 0 to `maximum`.
  std::optional<uint64_t> integer(uint64_t maximum);

  /// Passes over a value of any kind. Within it, only strings and brackets are looked at.
  void skip();

 private:
  static constexpr int kMaxDepth = 64;

  void fail() { ok_ = false; }
  void skipSpace();
  bool punctuation(char expected);
  bool enter(char bracket);
  bool next(char bracket, bool first);
  bool word(std::string_view expected);
  std::optional<std::string_view> stringView();
  bool skipString();
  bool unescape(std::string_view raw);
  std::optional<uint32_t> escapedUnit(std::string_view digits);

  std::string_view text_;
  size_t at_;
  int depth_ = 0;
  bool ok_ = true;
  std::string unescaped_;
};

}  // namespace xfilter
