#include "kernel/json_reader.h"

#include <algorithm>
#include <charconv>

namespace xfilter {
namespace {

bool isSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

void appendUtf8(std::string& text, uint32_t point) {
  const auto put = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      put(0xe0 | point >> 12);
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
    }
    put(0x80 | (point >> 6 & 0x3f));
  }
  put(0x80 | (point & 0x3f));
}

}  // namespace

void JsonReader::skipSpace() {
  while (at_ < text_.size() && isSpace(text_[at_])) ++at_;
}

size_t JsonReader::position() {
  skipSpace();
  return at_;
}

bool JsonReader::atEnd() {
  skipSpace();
  return ok_ && at_ == text_.size();
}

bool JsonReader::punctuation(char expected) {
  skipSpace();
  if (!ok_ || at_ >= text_.size() || text_[at_] != expected) return false;
  ++at_;
  return true;
}

bool JsonReader::enter(char bracket) {
  if (punctuation(bracket) && ++depth_ <= kMaxDepth) return true;
  fail();
  return false;
}

/// Whether another element follows before the closing bracket.
bool JsonReader::next(char bracket, bool first) {
  if (!ok_ || punctuation(bracket)) return false;
  if (first || punctuation(',')) return true;
  fail();
  return false;
}

bool JsonReader::word(std::string_view expected) {
  skipSpace();
  if (!ok_ || !text_.substr(at_).starts_with(expected)) return false;
  at_ += expected.size();
  return true;
}

/// From behind the opening quote to behind the closing one.
bool JsonReader::skipString() {
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == '"') return true;
    if (c == '\\') ++at_;
  }
  return false;
}

std::optional<std::string_view> JsonReader::stringView() {
  if (!punctuation('"')) {
    fail();
    return std::nullopt;
  }
  const size_t start = at_;
  if (!skipString() || at_ > text_.size()) {
    fail();
    return std::nullopt;
  }
  const std::string_view raw = text_.substr(start, at_ - 1 - start);
  if (raw.find('\\') == std::string_view::npos) return raw;
  if (unescape(raw)) return unescaped_;
  fail();
  return std::nullopt;
}

std::optional<uint32_t> JsonReader::escapedUnit(std::string_view digits) {
  uint32_t unit = 0;
  if (digits.size() < 4) return std::nullopt;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + 4, unit, 16);
  if (error != std::errc{} || end != digits.data() + 4) return std::nullopt;
  return unit;
}

bool JsonReader::unescape(std::string_view raw) {
  constexpr std::string_view kLetters = "\"\\/bfnrt";
  constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
  unescaped_.clear();
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\') {
      unescaped_ += raw[i];
      continue;
    }
    if (++i >= raw.size()) return false;
    if (raw[i] != 'u') {
      const size_t letter = kLetters.find(raw[i]);
      if (letter == std::string_view::npos) return false;
      unescaped_ += kMeanings[letter];
      continue;
    }
    auto point = escapedUnit(raw.substr(i + 1));
    if (!point) return false;
    i += 4;
    if (*point >= 0xd800 && *point < 0xdc00 && raw.substr(i + 1).starts_with("\\u")) {
      const auto low = escapedUnit(raw.substr(i + 3));
      if (low && *low >= 0xdc00 && *low < 0xe000) {
        point = 0x10000 + ((*point - 0xd800) << 10) + (*low - 0xdc00);
        i += 6;
      }
    }
    const bool lone = *point >= 0xd800 && *point < 0xe000;
    appendUtf8(unescaped_, lone ? 0xfffd : *point);
  }
  return true;
}

std::optional<std::string> JsonReader::string() {
  const auto view = stringView();
  if (!view) return std::nullopt;
  return std::string(*view);
}

std::optional<bool> JsonReader::boolean() {
  if (word("true")) return true;
  if (word("false")) return false;
  fail();
  return std::nullopt;
}

std::optional<uint64_t> JsonReader::integer() {
  skipSpace();
  const char* const end = text_.data() + text_.size();
  const char* const start = text_.data() + std::min(at_, text_.size());
  uint64_t value = 0;
  const bool negative = start < end && *start == '-';
  int64_t below = 0;
  const auto [stop, error] =
      negative ? std::from_chars(start, end, below) : std::from_chars(start, end, value);
  const bool fraction = stop < end && (*stop == '.' || *stop == 'e' || *stop == 'E');
  if (!ok_ || error != std::errc{} || fraction) {
    fail();
    return std::nullopt;
  }
  at_ = static_cast<size_t>(stop - text_.data());
  return negative ? static_cast<uint64_t>(below) : value;
}

std::optional<uint64_t> JsonReader::integer(uint64_t maximum) {
  const auto value = integer();
  if (!value || *value <= maximum) return value;
  fail();
  return std::nullopt;
}

void JsonReader::skip() {
  skipSpace();
  const size_t start = at_;
  int depth = 0;
  if (start < text_.size() && (text_[start] == ',' || text_[start] == ':')) return fail();
  while (ok_ && at_ < text_.size()) {
    const char c = text_[at_];
    if (depth == 0 && at_ > start && (c == ',' || c == '}' || c == ']' || isSpace(c))) return;
    ++at_;
    switch (c) {
      case '"':
        if (!skipString()) return fail();
        break;
      case '{':
      case '[':
        ++depth;
        continue;
      case '}':
      case ']':
        if (--depth < 0) return fail();
        break;
      default:
        continue;
    }
    if (depth == 0) return;
  }
  if (depth > 0 || at_ == start) fail();
}

}  // namespace xfilter
