#pragma once

#include <napi.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <vector>

#include "memory/result.h"

namespace xfilter::node {

/// An Error as JavaScript sees it: `code`, `message`, `advice`.
Napi::Value toJs(Napi::Env env, const Error& error);

/// Work off the event loop, on threads of this addon: attaching and walking may take long, and libuv's four
/// threads are everybody's. One of these lives in each JavaScript environment (the main thread, each worker).
///
/// One guest gets no more than a few of the threads at once, however much is asked of it: one that is slow or
/// stuck delays no other.
///
/// All but the work itself runs on the environment's own thread.
class Jobs {
 public:
  explicit Jobs(Napi::Env env);
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  /// Runs `work` on a thread, then `convert` on the environment's. Returns the object that JavaScript gets:
  /// `{ promise, cancel() }`; cancel asks the work's stop token. `guest` is whose work it is: any address
  /// that tells guests apart while the work is under way, or null.
  template <class T>
  Napi::Object start(Napi::Env env, std::function<Result<T>(const std::stop_token&)> work,
                     std::function<Napi::Value(Napi::Env, T)> convert, const void* guest = nullptr) {
    auto result = std::make_shared<Result<T>>(tl::unexpect, Error{"INTERNAL", "The work did not run.", ""});
    return start(
        env, [result, work = std::move(work)](const std::stop_token& stop) { *result = work(stop); },
        [result, convert = std::move(convert)](Napi::Env e, const Napi::Promise::Deferred& deferred) {
          if (*result) {
            deferred.Resolve(convert(e, std::move(**result)));
          } else {
            deferred.Reject(toJs(e, result->error()));
          }
        },
        guest);
  }

 private:
  struct Job {
    uint64_t id;
    const void* guest;
    std::function<void(const std::stop_token&)> run;
    std::function<void(Napi::Env, const Napi::Promise::Deferred&)> settle;
    Napi::Promise::Deferred deferred;
    std::stop_source stop;
    std::optional<Error> failure{};  // why `run` was not run to its end
  };

  Napi::Object start(Napi::Env env, std::function<void(const std::stop_token&)> run,
                     std::function<void(Napi::Env, const Napi::Promise::Deferred&)> settle,
                     const void* guest);
  using Queue = std::deque<std::shared_ptr<Job>>;
  Queue::iterator nextRunnable();
  void queue(const std::shared_ptr<Job>& job);
  void work();
  void settle(Napi::Env env, uint64_t id);
  void shutDown();

  Napi::ThreadSafeFunction wake_;
  std::unordered_map<uint64_t, std::shared_ptr<Job>> pending_;
  uint64_t lastId_ = 0;

  std::mutex mutex_;  // for what follows
  std::condition_variable queued_;
  Queue queue_;
  std::unordered_map<const void*, size_t> running_;  // jobs of each guest
  size_t idle_ = 0;                                  // threads that wait, or are about to
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace xfilter::node
