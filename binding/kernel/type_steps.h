#pragma once

#include <cstdint>

namespace xfilter {

/// What one question to a TypeSource may cost. Types lead to each other, and hostile ones without end.
class TypeSteps {
 public:
  explicit TypeSteps(uint64_t maximum) : left_(maximum) {}

  bool take(uint64_t steps = 1) {
    left_ = steps < left_ ? left_ - steps : 0;
    return left_ > 0;
  }
  bool descend() { return depth_++ < kMaxDepth; }
  void ascend() { --depth_; }

  /// Of structures in structures, or of arrays in arrays.
  static constexpr int kMaxDepth = 32;

 private:
  uint64_t left_;
  int depth_ = 0;
};

}  // namespace xfilter
