#include "node/child.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

namespace xfilter::node {
namespace {

/// What posix_spawn is told.
class Preparation {
 public:
  explicit Preparation(const std::array<int, 3>& standard) {
    posix_spawn_file_actions_init(&actions_);
    for (int i = 0; i < 3; i++) posix_spawn_file_actions_adddup2(&actions_, standard[i], i);
    posix_spawnattr_init(&attributes_);
    // Node ignores SIGPIPE, and who loads this may do what he likes to the others.
    sigset_t signals;
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    sigemptyset(&signals);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    // The process group stays ours: Ctrl-C at a terminal is for both.
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  }
  Preparation(const Preparation&) = delete;
  Preparation& operator=(const Preparation&) = delete;
  ~Preparation() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }

  /// Starts the program from the first folder that has it.
  tl::expected<pid_t, int> start(const Command& command) const {
    std::vector<char*> words{const_cast<char*>(command.name.c_str())};
    for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    std::string path = "PATH=" + command.path;
    std::string locale = "LC_ALL=C";
    const std::array<char*, 3> environment{path.data(), locale.data(), nullptr};
    int failed = ENOENT;
    for (std::string_view rest = command.path; !rest.empty();) {
      const std::string_view folder = rest.substr(0, rest.find(':'));
      rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
      const std::string file = (folder.empty() ? "." : std::string(folder)) + "/" + command.name;
      pid_t pid = 0;
      // Not posix_spawnp, which searches the PATH of this process, that another thread may be changing.
      const int error =
          posix_spawn(&pid, file.c_str(), &actions_, &attributes_, words.data(), environment.data());
      if (error == 0) return pid;
      if (error == EACCES) failed = error;
      if (error != ENOENT && error != ENOTDIR && error != EACCES) return tl::unexpected(error);
    }
    return tl::unexpected(failed);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

tl::expected<Child, int> Child::start(const Command& command, const std::array<int, 3>& standard) {
  return Preparation(standard).start(command).map([](pid_t pid) { return Child(pid); });
}

Child::Child(Child&& other) noexcept
    : pid_(other.pid_), ended_(std::exchange(other.ended_, true)), status_(other.status_) {}

Child::~Child() {
  if (!ended_) waitAfterKill();
}

bool Child::hasEnded() { return ended_ || wait(WNOHANG); }

void Child::waitAfterKill() {
  kill(pid_, SIGKILL);
  wait(0);
}

bool Child::wait(int options) {
  int status = 0;
  pid_t waited = 0;
  do {
    waited = waitpid(pid_, &status, options);
  } while (waited < 0 && errno == EINTR);
  ended_ = waited != 0;
  if (waited > 0) status_ = status;
  return ended_;
}

}  // namespace xfilter::node
