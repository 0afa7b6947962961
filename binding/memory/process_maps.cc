#include "memory/process_maps.h"

#include <sys/sysmacros.h>

#include <charconv>
#include <optional>

namespace xfilter {
namespace {

/// The parts of a line, one after the other; empty from the first one on that is not as expected.
class Line {
 public:
  explicit Line(std::string_view text) : text_(text) {}

  uint64_t number(int base, char end) {
    uint64_t value = 0;
    const auto [stop, error] = std::from_chars(text_.data(), text_.data() + text_.size(), value, base);
    if (error != std::errc() || stop == text_.data() + text_.size() || *stop != end) ok_ = false;
    text_.remove_prefix(ok_ ? static_cast<size_t>(stop - text_.data()) + 1 : text_.size());
    return value;
  }

  std::string_view word() {
    const size_t end = text_.find(' ');
    if (end == std::string_view::npos) ok_ = false;
    const auto word = text_.substr(0, end);
    text_.remove_prefix(ok_ ? end + 1 : text_.size());
    return word;
  }

  std::string_view rest() const { return text_; }
  bool ok() const { return ok_; }

 private:
  std::string_view text_;
  bool ok_ = true;
};

// 7f1459fff000-7f145ffff000 rw-s 00000000 00:01 2057       /memfd:memory-backend-memfd (deleted)
std::optional<ProcessMapping> parseLine(std::string_view text) {
  Line line(text);
  ProcessMapping mapping;
  mapping.start = line.number(16, '-');
  mapping.end = line.number(16, ' ');
  const auto permissions = line.word();
  mapping.fileOffset = line.number(16, ' ');
  const auto major = static_cast<unsigned>(line.number(16, ':'));
  const auto minor = static_cast<unsigned>(line.number(16, ' '));
  mapping.device = makedev(major, minor);
  // A space follows even where no name does.
  mapping.inode = line.number(10, ' ');
  if (!line.ok() || permissions.size() != 4 || mapping.start >= mapping.end) return std::nullopt;
  mapping.readable = permissions[0] == 'r';
  mapping.executable = permissions[2] == 'x';
  mapping.shared = permissions[3] == 's';
  const size_t name = line.rest().find_first_not_of(' ');
  if (name != std::string_view::npos) mapping.path = line.rest().substr(name);
  return mapping;
}

}  // namespace

std::vector<ProcessMapping> parseProcessMaps(std::string_view text) {
  std::vector<ProcessMapping> mappings;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (auto mapping = parseLine(text.substr(0, end))) mappings.push_back(std::move(*mapping));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return mappings;
}

}  // namespace xfilter
