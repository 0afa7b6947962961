#include "node/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "memory/result.h"
#include "node/jobs.h"

namespace xfilter::node {

// Node has no call for it. The kernel gives the lock up when the last descriptor of it is closed, by whatever
// end its process finds; children get none (O_CLOEXEC).
Napi::Value lockFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].ToString().Utf8Value();
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return Napi::Number::New(env, fd);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (error == EWOULDBLOCK) return env.Null();
  const std::string what = path + " cannot be locked: " + std::strerror(error) + ".";
  throw Napi::Error(env, toJs(env, Error{"STATE_IO", what, "Give a directory of the user who runs this."}));
}

}  // namespace xfilter::node
