#include "walk/tasks.h"

#include <algorithm>

#include "walk/lists.h"
#include "walk/pid_table.h"
#include "walk/task_reader.h"

namespace xfilter {
namespace {

constexpr uint32_t kNoRow = ~uint32_t{0};

class TaskWalk {
 public:
  explicit TaskWalk(WalkContext& walk)
      : walk_(walk), maxProcesses_(walk.roomFor(kMinTaskSize)), reader_(walk) {}

  Tasks take() {
    prefetchLeaders(walk_);
    const uint32_t tasks = walk_.layout().task_struct.tasks.offset;
    std::vector<VirtualAddress> leaders;
    forEachListNode(walk_, *walk_.kernel.symbols.init_task + tasks, [&](VirtualAddress node) {
      if (leaders.size() < maxProcesses_) leaders.push_back(node - tasks);
    });
    forEachAhead(
        walk_.memory, leaders, [&](VirtualAddress task) { reader_.prefetch(task); },
        [&](VirtualAddress task) { addProcess(task); });
    if (walk_.layout().pidTable && walk_.kernel.symbols.init_pid_ns) crossCheck();
    tasks_.cgroups = reader_.cgroups().takePaths();
    return std::move(tasks_);
  }

 private:
  // The table of the first namespace has all; those of the others are looked at for what was taken out of it.
  void crossCheck() {
    const size_t listed = tasks_.processes.size();
    std::vector<bool> inTable(listed);
    const auto& namespaces = reader_.pidNamespaces();
    AddressIndex knownNamespaces;
    for (size_t i = 0; i < namespaces.size(); ++i) {  // grows with what is found
      if (!knownNamespaces.insert(namespaces[i], 0).second) continue;
      forEachPid(walk_, namespaces[i], [&](VirtualAddress pid) {
        const VirtualAddress task = leaderOf(walk_, pid);
        if (!task) return;
        if (const auto row = rowOf(task)) {
          if (i == 0 && *row < listed) inTable[*row] = true;
        } else if (addProcess(task)) {
          tasks_.discrepancies.push_back({lastRow(), Discrepancy::Kind::kNotInTaskList});
        }
      });
    }
    // A table that cannot be read at all says nothing about anybody.
    if (std::none_of(inTable.begin(), inTable.end(), [](bool found) { return found; })) return;
    for (uint32_t row = 0; row < listed; ++row) {
      if (!inTable[row]) tasks_.discrepancies.push_back({row, Discrepancy::Kind::kNotInPidTable});
    }
  }

  uint32_t lastRow() const { return static_cast<uint32_t>(tasks_.processes.size() - 1); }

  std::optional<uint32_t> rowOf(VirtualAddress task) {
    const auto [row, isNew] = rows_.insert(task, kNoRow);
    if (isNew || *row == kNoRow) return std::nullopt;
    return *row;
  }

  bool addProcess(VirtualAddress address) {
    if (tasks_.processes.size() >= maxProcesses_) {
      ++walk_.quality.limited;
      return false;
    }
    if (!reader_.read(address, static_cast<uint32_t>(tasks_.processes.size()), tasks_)) return false;
    *rows_.insert(address, kNoRow).first = lastRow();
    return true;
  }

  WalkContext& walk_;
  size_t maxProcesses_;
  TaskReader reader_;
  Tasks tasks_;
  AddressIndex rows_;  // struct task_struct → row
};

}  // namespace

Tasks walkTasks(WalkContext& walk) {
  Tasks tasks = TaskWalk(walk).take();
  walk.quality.processes = static_cast<uint32_t>(tasks.processes.size());
  return tasks;
}

}  // namespace xfilter
