#include "node/jobs.h"

#include <algorithm>
#include <exception>
#include <system_error>

namespace xfilter::node {
namespace {

// Threads start when there is work that no idle one takes, and stay. Work beyond that many waits its turn.
// More than there are CPUs, because a guest may be slow (a medium, a host under pressure) without using one.
constexpr size_t kMaxThreads = 64;
constexpr size_t kMaxOfOneGuest = 2;

Error outOfMemory() {
  return {"OUT_OF_MEMORY", "The memory of this process did not suffice.",
          "Give the process more memory; the guest may claim more than it has."};
}

}  // namespace

Napi::Value toJs(Napi::Env env, const Error& error) {
  Napi::Error object = Napi::Error::New(env, error.message);
  object.Set("code", error.code);
  object.Set("advice", error.advice);
  return object.Value();
}

Jobs::Jobs(Napi::Env env)
    : wake_(Napi::ThreadSafeFunction::New(env, Napi::Function(), "xfilter-core jobs", 0, 1)) {
  // Only a job that is under way keeps the process alive.
  wake_.Unref(env);
  // Hooks run last in, first out: this one stops the threads while `wake_`, made before, still exists.
  env.AddCleanupHook([this] { shutDown(); });
}

Napi::Object Jobs::start(Napi::Env env, std::function<void(const std::stop_token&)> run,
                         std::function<void(Napi::Env, const Napi::Promise::Deferred&)> settle,
                         const void* guest) {
  auto job = std::make_shared<Job>(
      Job{++lastId_, guest, std::move(run), std::move(settle), Napi::Promise::Deferred::New(env), {}});
  if (pending_.empty()) wake_.Ref(env);
  pending_.emplace(job->id, job);

  Napi::Object handle = Napi::Object::New(env);
  handle.Set("promise", job->deferred.Promise());
  handle.Set("cancel", Napi::Function::New(env, [stop = job->stop](const Napi::CallbackInfo&) mutable {
               stop.request_stop();
             }));
  queue(job);
  return handle;
}

/// The first job whose guest has not its share of the threads already.
Jobs::Queue::iterator Jobs::nextRunnable() {
  return std::find_if(queue_.begin(), queue_.end(), [this](const std::shared_ptr<Job>& job) {
    const auto running = running_.find(job->guest);
    return running == running_.end() || running->second < kMaxOfOneGuest;
  });
}

void Jobs::queue(const std::shared_ptr<Job>& job) {
  bool refused = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(job);
    if (idle_ < queue_.size() && nextRunnable() != queue_.end() && threads_.size() < kMaxThreads) {
      try {
        threads_.emplace_back([this] { work(); });
        ++idle_;
      } catch (const std::system_error& error) {
        // The threads that there are take the job in their turn.
        if (threads_.empty()) {
          refused = true;
          queue_.pop_back();
          job->failure = Error{"OUT_OF_MEMORY", "No thread could be started: " + error.code().message() + ".",
                               "Give the process more memory, or raise its limit of threads (ulimit -u)."};
        }
      }
    }
  }
  queued_.notify_one();
  // Not asked of the job, which runs by now if it was not refused.
  if (refused) settle(job->deferred.Env(), job->id);
}

void Jobs::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    auto next = queue_.end();
    queued_.wait(lock, [&] { return closing_ || (next = nextRunnable()) != queue_.end(); });
    --idle_;
    if (closing_) return;
    std::shared_ptr<Job> job = std::move(*next);
    queue_.erase(next);
    if (job->guest != nullptr) ++running_[job->guest];
    lock.unlock();
    try {
      job->run(job->stop.get_token());
    } catch (const std::exception&) {
      job->failure = outOfMemory();  // nothing else throws in the core
    }
    const uint64_t id = job->id;
    const void* const guest = job->guest;
    // `pending_` has it, too: what it holds is let go of on the environment's thread, and not under the
    // mutex.
    job.reset();
    lock.lock();
    // This thread, which is free now, takes what waited for it, or what is asked for on the news.
    ++idle_;
    if (guest != nullptr && --running_[guest] == 0) running_.erase(guest);
    // Its failure means that the environment is going away: nobody waits for the result any more.
    wake_.NonBlockingCall([this, id](Napi::Env env, Napi::Function) { settle(env, id); });
  }
}

void Jobs::settle(Napi::Env env, uint64_t id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const std::shared_ptr<Job> job = std::move(found->second);
  pending_.erase(found);
  if (pending_.empty()) wake_.Unref(env);
  // A promise that is never settled is a program that hangs.
  try {
    if (!job->failure) return job->settle(env, job->deferred);
  } catch (const Napi::Error& error) {
    return job->deferred.Reject(error.Value());
  } catch (const std::exception&) {
    job->failure = outOfMemory();
  }
  job->deferred.Reject(toJs(env, *job->failure));
}

void Jobs::shutDown() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    queue_.clear();
  }
  for (auto& [id, job] : pending_) job->stop.request_stop();
  queued_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  wake_.Abort();
}

}  // namespace xfilter::node
