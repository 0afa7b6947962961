#pragma once

#include <vector>

#include "walk/context.h"
#include "walk/process.h"

namespace xfilter {

/// A task_struct and its kernel stack (16 KiB) take more.
inline constexpr uint64_t kMinTaskSize = 16 << 10;

/// A process that uses an fd table; `process` is its row, and `task` the thread of it that the table is of.
struct TableHolder {
  VirtualAddress files;
  uint32_t process = 0;
  VirtualAddress task{};

  friend bool operator==(const TableHolder&, const TableHolder&) = default;
};

struct Tasks {
  std::vector<Process> processes;
  /// Each table of each process once: threads that share one count once, one that has its own adds it.
  std::vector<TableHolder> tables;
  /// Files of io_uring instances that threads have registered for themselves, which no descriptor need lead
  /// to.
  std::vector<VirtualAddress> rings;
  std::vector<std::string> cgroups;
  std::vector<Discrepancy> discrepancies;
};

/// Walks the processes from init_task and the threads of each, and then the pid tables: a process that only
/// these have is walked too. init_task itself (pid 0) is none.
Tasks walkTasks(WalkContext& walk);

}  // namespace xfilter
