#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

namespace xfilter {

/// What an attach or a walk may spend: it ends when its time is up or its caller has given up, whatever the
/// guest's memory says. Loops that it ends just stop: who began the work asks how it ended.
class Budget {
 public:
  Budget(std::stop_token stop, std::chrono::nanoseconds time)
      : stop_(std::move(stop)), deadline_(std::chrono::steady_clock::now() + time) {}

  /// Called for each step of every loop that the guest's memory drives; false once the work has to end.
  bool spend() {
    if (++steps_ % kStepsPerLook == 0) look();
    return state_ == State::kLeft;
  }

  /// The same for steps of milliseconds: looks each time.
  bool spendLong() {
    look();
    return state_ == State::kLeft;
  }

  bool aborted() const { return state_ == State::kAborted; }
  bool exhausted() const { return state_ == State::kExhausted; }

 private:
  enum class State : uint8_t { kLeft, kAborted, kExhausted };
  static constexpr uint64_t kStepsPerLook = 256;

  void look() {
    if (state_ != State::kLeft) return;
    if (stop_.stop_requested()) {
      state_ = State::kAborted;
    } else if (std::chrono::steady_clock::now() >= deadline_) {
      state_ = State::kExhausted;
    }
  }

  std::stop_token stop_;
  std::chrono::steady_clock::time_point deadline_;
  uint64_t steps_ = 0;
  State state_ = State::kLeft;
};

}  // namespace xfilter
