#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "doctest/doctest.h"
#include "fake_kernel.h"
#include "walk/walk.h"

namespace xfilter::test {

// What a guest does while it is read. A round of a walk has six passes, each an epoch: tasks; descriptors and
// files; sockets and socks, and the ids again; descriptors, files and socks again; sockets again; inode
// numbers, processes and tables again.
inline constexpr int kStart = 1, kFirst = 2, kDescriptors = 3, kIds = 4, kSocks = 5, kSockets = 6,
                     kSecondRound = 8;

/// A guest that does what it is told at the beginning of an epoch, or amid it.
class RunningKernel : public FakeKernel {
 public:
  RunningKernel() {
    guest.memory().isLive = true;
    guest.memory().onEpoch = [this](int epoch) {
      if (const auto found = at_.find(epoch); found != at_.end()) found->second();
      if (always_) always_(epoch);
      epoch_ = epoch;
    };
    guest.memory().onView = [this](PhysicalAddress address) {
      const auto found = looks_.find({epoch_, address.value / kPageSize});
      if (found == looks_.end()) return;
      const auto what = std::move(found->second);
      looks_.erase(found);
      what();
    };
  }

  void at(int epoch, std::function<void()> what) { at_[epoch] = std::move(what); }
  /// What it does just before the page of `address` is first read in an epoch.
  void beforeRead(int epoch, VirtualAddress address, std::function<void()> what) {
    looks_[{epoch, guest.space().translate(address)->physical.value / kPageSize}] = std::move(what);
  }
  void always(std::function<void(int)> what) { always_ = std::move(what); }

  WalkResult walked() {
    auto result = walk(kernel(), {}, {});
    REQUIRE(result.has_value());
    return std::move(*result);
  }

 private:
  std::map<int, std::function<void()>> at_;
  std::map<std::pair<int, uint64_t>, std::function<void()>> looks_;
  std::function<void(int)> always_;
  int epoch_ = 0;
};

/// "uid:pid:fd" of each owner, after the socket's port or inode.
inline std::multiset<std::string> holders(const WalkResult& result) {
  std::multiset<std::string> found;
  for (const Owner& owner : result.owners) {
    const Process& process = result.processes[owner.process];
    found.insert(std::to_string(result.sockets[owner.socket].localPort) + " of " +
                 std::to_string(process.uid) + ":" + std::to_string(process.pid) + ":" +
                 std::to_string(owner.fd));
  }
  return found;
}

using Held = std::multiset<std::string>;

inline bool clean(const Quality& q) { return q.torn + q.abandoned + q.badPointers + q.limited == 0; }

}  // namespace xfilter::test
