#include "node/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "memory/file_descriptor.h"
#include "memory/result.h"
#include "node/child.h"
#include "node/environment.h"

namespace xfilter::node {
namespace {

using Clock = std::chrono::steady_clock;

struct Request {
  Command command;
  std::optional<std::string> input;
  std::chrono::milliseconds timeout;
  size_t maxOutput, maxMessages;
};

struct Ended {
  int status;  // waitpid's
  std::string output, messages;
};

tl::unexpected<Error> notRun(int error) { return failure("BACKEND_FAILED", std::strerror(error), ""); }

/// What the program writes into one of its descriptors.
struct Stream {
  FileDescriptor theirs, ours;
  size_t limit;
  std::string bytes{};

  /// Reads once. The program is not kept from ending by what is too much of it: that is thrown away.
  void read(std::vector<char>& buffer) {
    const ssize_t got = ::read(ours.get(), buffer.data(), buffer.size());
    if (got > 0) bytes.append(buffer.data(), std::min<size_t>(got, limit - bytes.size()));
    if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) ours = FileDescriptor();
  }
};

/// The descriptor, or one behind those that a program has anyway: whoever embeds this may have closed them.
FileDescriptor behindStandard(int fd) {
  if (fd < 0 || fd > STDERR_FILENO) return FileDescriptor(fd);
  const FileDescriptor low(fd);
  return FileDescriptor(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

std::optional<Stream> stream(size_t limit) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  FileDescriptor ours = behindStandard(ends[0]);
  FileDescriptor theirs = behindStandard(ends[1]);
  if (!ours || !theirs) return std::nullopt;
  return Stream{std::move(theirs), std::move(ours), limit};
}

/// A file in memory that holds the input: a program may open `/dev/stdin` anew, as nft does, and one that
/// reads none of it holds up nobody.
FileDescriptor inputFile(const std::string& input) {
  constexpr unsigned kNoExec = 8;  // MFD_NOEXEC_SEAL: Linux 6.3 can be told to refuse files without it
  int fd = memfd_create("xfilter", MFD_CLOEXEC | kNoExec);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("xfilter", MFD_CLOEXEC);
  FileDescriptor file = behindStandard(fd);
  for (size_t done = 0; file && done < input.size();) {
    // Not write: the position, which the program shares, stays at the start.
    const ssize_t wrote =
        pwrite(file.get(), input.data() + done, input.size() - done, static_cast<off_t>(done));
    if (wrote <= 0 && errno != EINTR) return {};
    if (wrote > 0) done += wrote;
  }
  return file;
}

/// How long poll may wait: to the next look at whether the program has ended, or to its last moment.
timespec pause(Clock::time_point deadline, std::chrono::nanoseconds atMost) {
  const auto left = std::max(std::chrono::nanoseconds(deadline - Clock::now()), std::chrono::nanoseconds(0));
  const auto wait = std::min(left, atMost);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(wait);
  return {.tv_sec = seconds.count(), .tv_nsec = (wait - seconds).count()};
}

Result<Ended> run(const Request& request, const std::stop_token& stop) {
  const auto deadline = Clock::now() + request.timeout;
  const auto aborted = [&] { return failure("ABORTED", request.command.name + " was aborted.", ""); };
  const FileDescriptor stopped(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stopped) return notRun(errno);
  const FileDescriptor input =
      request.input ? inputFile(*request.input) : behindStandard(open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input) return notRun(errno);
  auto output = stream(request.maxOutput);
  auto messages = stream(request.maxMessages);
  if (!output || !messages) return notRun(errno);
  std::vector<char> buffer(65536);
  const std::stop_callback wake(stop, [fd = stopped.get()] { eventfd_write(fd, 1); });
  if (stop.stop_requested()) return aborted();

  auto started = Child::start(request.command, {input.get(), output->theirs.get(), messages->theirs.get()});
  if (!started && started.error() == ENOENT) return failure("BACKEND_NOT_FOUND", std::strerror(ENOENT), "");
  if (!started) return notRun(started.error());
  Child& child = *started;
  output->theirs = FileDescriptor();
  messages->theirs = FileDescriptor();

  // A program ends right after it has closed what it writes to, unless it is an odd one. It is looked for
  // ever less often: a descriptor that tells (pidfd_open) not every kernel has, and not every container
  // allows.
  std::chrono::nanoseconds look = std::chrono::microseconds(50);
  for (;;) {
    const bool silent = !output->ours && !messages->ours;
    if (silent && child.hasEnded()) break;
    std::array<pollfd, 3> polled{{{stopped.get(), POLLIN, 0},
                                  {output->ours ? output->ours.get() : -1, POLLIN, 0},
                                  {messages->ours ? messages->ours.get() : -1, POLLIN, 0}}};
    const timespec timeout = pause(deadline, silent ? look : std::chrono::nanoseconds(request.timeout));
    if (silent) look = std::min<std::chrono::nanoseconds>(2 * look, std::chrono::milliseconds(10));
    ppoll(polled.data(), polled.size(), &timeout, nullptr);
    if (stop.stop_requested()) {
      child.waitAfterKill();
      return aborted();
    }
    if (polled[1].revents != 0) output->read(buffer);
    if (polled[2].revents != 0) messages->read(buffer);
    if (Clock::now() >= deadline) {
      // Not read to its end: programs that it started may hold its pipes open.
      child.waitAfterKill();
      break;
    }
  }
  if (!child.status()) return failure("BACKEND_FAILED", "How it ended is not known", "");
  return Ended{*child.status(), std::move(output->bytes), std::move(messages->bytes)};
}

Request requestOf(const Napi::Object& given) {
  const auto size = [&](const char* name) -> int64_t { return given.Get(name).ToNumber().Int64Value(); };
  Request request{.command = {.name = given.Get("name").ToString().Utf8Value(),
                              .words = {},
                              .path = given.Get("path").ToString().Utf8Value()},
                  .input = std::nullopt,
                  .timeout = std::chrono::milliseconds(size("timeoutMs")),
                  .maxOutput = static_cast<size_t>(size("maxOutput")),
                  .maxMessages = static_cast<size_t>(size("maxMessages"))};
  const auto words = given.Get("words").As<Napi::Array>();
  for (uint32_t i = 0; i < words.Length(); i++)
    request.command.words.push_back(Napi::Value(words[i]).ToString().Utf8Value());
  if (const Napi::Value input = given.Get("input"); input.IsString())
    request.input = input.ToString().Utf8Value();
  return request;
}

}  // namespace

Napi::Value runProgram(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return environment(env).programs.start<Ended>(
      env,
      [request = requestOf(info[0].As<Napi::Object>())](const std::stop_token& stop) {
        return run(request, stop);
      },
      [](Napi::Env e, const Ended& ended) {
        Napi::Object result = Napi::Object::New(e);
        const bool exited = WIFEXITED(ended.status);
        result.Set("status", exited ? Napi::Number::New(e, WEXITSTATUS(ended.status)) : e.Null());
        result.Set("signal", exited ? e.Null() : Napi::Number::New(e, WTERMSIG(ended.status)));
        result.Set("output", ended.output);
        result.Set("messages", ended.messages);
        return Napi::Value(result);
      });
}

}  // namespace xfilter::node
