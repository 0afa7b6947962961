#pragma once

#include <sys/types.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tl/expected.hpp"

namespace xfilter::node {

/// A program, and what it is given.
struct Command {
  std::string name;
  std::vector<std::string> words;
  /// Of folders: its PATH, in which it is looked for, too.
  std::string path;
};

/// A program that was started. Never outlives this, and its number stays its own until this has taken it back
/// from the kernel: what is killed is never another process.
class Child {
 public:
  /// Starts a program in the C locale with these descriptors for its standard ones, each of them behind
  /// STDERR_FILENO; it gets no other that is to be closed on exec. An error of errno's: ENOENT if there is no
  /// such program.
  ///
  /// By posix_spawn, which copies no page tables, as fork does for tens of milliseconds.
  static tl::expected<Child, int> start(const Command& command, const std::array<int, 3>& standard);

  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  bool hasEnded();
  void waitAfterKill();
  /// waitpid's; nothing if somebody else in this process has waited for the program.
  std::optional<int> status() const { return status_; }

 private:
  explicit Child(pid_t pid) : pid_(pid) {}
  bool wait(int options);

  pid_t pid_;
  bool ended_ = false;
  std::optional<int> status_{};
};

}  // namespace xfilter::node
