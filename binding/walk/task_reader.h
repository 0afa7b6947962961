#pragma once

#include <array>
#include <optional>

#include "walk/ahead.h"
#include "walk/cgroups.h"
#include "walk/tasks.h"

namespace xfilter {

/// The members of a leader's task_struct of which its row is made, and the pointers to all else that it is
/// made of, which the kernel exchanges instead of changing what they lead to.
using TaskMembers = std::array<uint64_t, 20>;

/// Reads processes one by one: what the task_struct of a thread group's leader says, and what its threads
/// add.
class TaskReader {
 public:
  explicit TaskReader(WalkContext& walk);

  /// Asks for what `read` will want of a task.
  void prefetch(VirtualAddress task) { lines_.prefetch(walk_.memory, task); }

  /// Appends the process and the fd tables that it uses, as row `row`; false, and counted, if its task is not
  /// in memory.
  bool read(VirtualAddress task, uint32_t row, Tasks& tasks);

  /// What does not change by itself while the process waits or runs; none if its task is not in memory.
  std::optional<TaskMembers> members(VirtualAddress task);

  /// init_pid_ns, then the pid namespaces of the processes read, some several times.
  const std::vector<VirtualAddress>& pidNamespaces() const { return pidNamespaces_; }

  Cgroups& cgroups() { return cgroups_; }

 private:
  void prefetchRelated(GuestObject& task);
  void readComm(GuestObject& task, Process& process);
  void readParent(GuestObject& task, Process& process);
  void readNetns(GuestObject& thread, Process& process);
  void readOwnPid(VirtualAddress address, Process& process);
  void readThread(GuestObject& task, size_t firstTable, Process& process);
  void readRings(GuestObject& task);
  void readThreads(GuestObject& leader, size_t firstTable, Process& process);
  void readSession(GuestObject& signal, Process& process);

  WalkContext& walk_;
  const Layout& layout_;
  const decltype(Layout::task_struct)& member_;
  Lines lines_;
  Cgroups cgroups_;
  std::vector<VirtualAddress> pidNamespaces_;
  // Of the call of `read` under way.
  Tasks* tasks_ = nullptr;
  uint32_t row_ = 0;
};

/// The credentials of a task, into the ids of its row. While they are exchanged they are read again.
/// Copies of pages are as old as they happen to be: `anew` makes their order the right one, for two system
/// calls.
void readIds(WalkContext& walk, VirtualAddress task, Process& process, bool anew = false);

}  // namespace xfilter
