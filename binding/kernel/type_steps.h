#pragma once

namespace xfilter {

/// What one question to a TypeSource may cost. Types lead to each other, and hostile ones without end.
class TypeSteps {
 public:
  explicit TypeSteps(int maximum) : left_(maximum) {}

  bool take() { return left_-- > 0; }
  bool descend() { return depth_++ < kMaxDepth; }
  void ascend() { --depth_; }

  /// Of structures in structures, or of arrays in arrays.
  static constexpr int kMaxDepth = 32;

 private:
  int left_;
  int depth_ = 0;
};

}  // namespace xfilter
