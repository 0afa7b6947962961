#include "node/unix_socket.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "memory/result.h"
#include "node/jobs.h"

namespace xfilter::node {
namespace {

Error refused(const std::string& path, int error) {
  const std::string what = "Cannot connect to " + path + ": " + std::strerror(error) + ".";
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return {
          "SOURCE_NOT_FOUND", what,
          "Check the path; QEMU makes the socket if it is started with -qmp unix:PATH,server=on,wait=off."};
    case ECONNREFUSED:
      return {"SOURCE_NOT_FOUND", what,
              "Nobody listens there. Start QEMU with -qmp unix:PATH,server=on,wait=off; an image is given "
              "by its path, without qemu: in front."};
    case EACCES:
    case EPERM:
      return {"SOURCE_PERMISSION", what, "Grant this user write permission on the socket."};
    case EAGAIN:
      return {"QMP_TIMEOUT", path + " has more clients waiting than it takes.",
              "A QMP socket serves one client: close the others, or give the process id (qemu:pid:PID)."};
    case EPROTOTYPE:
      return {"QMP_INVALID", what, "Give QEMU's QMP socket: it is of another kind."};
    default:
      return {"SOURCE_IO", what, "Check the path."};
  }
}

}  // namespace

Napi::Value connectUnix(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].ToString().Utf8Value();
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Napi::Error(env, toJs(env, refused(path, ENAMETOOLONG)));
  std::memcpy(address.sun_path, path.data(), path.size());
  // A connect to a UNIX socket is done at once or, without O_NONBLOCK, waits for room in the listener's
  // queue.
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw Napi::Error(env, toJs(env, refused(path, errno)));
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    const int error = errno;
    ::close(fd);
    throw Napi::Error(env, toJs(env, refused(path, error)));
  }
  Napi::Object connection = Napi::Object::New(env);
  connection.Set("fd", fd);
  connection.Set("pid", peer.pid);
  return connection;
}

}  // namespace xfilter::node
