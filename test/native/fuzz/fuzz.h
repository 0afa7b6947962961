#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace xfilter::test {

/// Deterministic fuzzing: a round takes what is real (headers, types, symbols, a guest's memory), breaks it
/// as its seed says, and reads it. It must not crash, and says what is wrong with what came out.
class Fuzz {
 public:
  /// `image`: an ELF core of a guest.
  explicit Fuzz(const std::string& image);
  ~Fuzz();
  Fuzz(const Fuzz&) = delete;
  Fuzz& operator=(const Fuzz&) = delete;

  /// "headers", "types", "symbols", "attach", "walk"
  static const std::vector<std::string>& targets();

  /// One round. A complaint, or nothing.
  std::optional<std::string> round(const std::string& target, uint64_t seed);

 private:
  struct Guest;
  std::unique_ptr<Guest> guest_;
};

}  // namespace xfilter::test
