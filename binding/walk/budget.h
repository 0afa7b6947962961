#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

namespace xfilter {

/// What a walk may spend: it ends when its time is up or its caller has given up, whatever the guest's lists
/// say.
class Budget {
 public:
  Budget(std::stop_token stop, std::chrono::nanoseconds time)
      : stop_(std::move(stop)), deadline_(std::chrono::steady_clock::now() + time) {}

  /// Called for each step of every loop that the guest's memory drives; false once the walk has to end.
  bool spend() {
    if (++steps_ % kStepsPerLook == 0) look();
    return state_ == State::kLeft;
  }

  bool aborted() const { return state_ == State::kAborted; }
  bool exhausted() const { return state_ == State::kExhausted; }

 private:
  enum class State : uint8_t { kLeft, kAborted, kExhausted };
  static constexpr uint64_t kStepsPerLook = 256;

  void look() {
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
