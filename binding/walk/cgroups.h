#pragma once

#include <string>
#include <vector>

#include "walk/context.h"

namespace xfilter {

/// The paths of cgroups, each made once however many processes are in it.
class Cgroups {
 public:
  explicit Cgroups(WalkContext& walk) : walk_(walk) {}

  /// Index into `paths()` of the group that a task is in; kNoId where it cannot be told.
  uint32_t of(GuestObject& task);
  std::vector<std::string> takePaths() { return std::move(paths_); }

  /// Reads each path once more when it is next asked for: in a guest that runs, another group may lie where
  /// one was.
  void renew() { current_ = {}; }

 private:
  std::string pathOf(VirtualAddress node);

  WalkContext& walk_;
  AddressIndex known_;    // struct cgroup → index
  AddressIndex current_;  // those whose paths were read since `renew`
  std::vector<std::string> paths_;
};

}  // namespace xfilter
