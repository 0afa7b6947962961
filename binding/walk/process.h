#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "memory/address.h"

namespace xfilter {

/// In a column of ids: the kernel has no such member, or none for this process.
inline constexpr uint32_t kNoId = 0xffff'ffff;

/// A process as its thread group leader's task_struct shows it. Ids are the initial namespaces'.
struct Process {
  VirtualAddress task;
  uint64_t startTime = 0;  // ns since the guest's boot, suspended time included
  uint32_t pid = 0;
  uint32_t ppid = 0;
  uint32_t uid = 0, gid = 0, euid = 0, egid = 0, suid = 0, sgid = 0, fsuid = 0, fsgid = 0;
  uint32_t loginuid = kNoId;
  uint32_t session = kNoId;
  uint32_t sessionid = kNoId;
  uint32_t nspid = kNoId;
  uint32_t netns = 0;  // 0: unknown
  uint32_t pidns = 0;
  uint32_t threads = 0;
  uint32_t cgroup = kNoId;  // index into WalkResult::cgroups
  int32_t cpu = -1;         // -1: no thread of it runs
  char state = '?';
  bool kernelThread = false;
  uint8_t commSize = 0;
  // TASK_COMM_LEN is 16. Room for kernels that lengthen it.
  std::array<char, 64> comm{};

  /// All that does not change by itself while the process waits or runs.
  bool sameColumns(const Process& other) const {
    Process now = other;
    now.threads = threads;
    now.cpu = cpu;
    now.state = state;
    return *this == now;
  }
  bool sameIds(const Process& other) const {
    return uid == other.uid && gid == other.gid && suid == other.suid && sgid == other.sgid &&
           euid == other.euid && egid == other.egid && fsuid == other.fsuid && fsgid == other.fsgid;
  }

  friend bool operator==(const Process&, const Process&) = default;
};

/// A process that one of the kernel's lists has and the other has not: somebody hides it, or the memory is
/// torn.
struct Discrepancy {
  enum class Kind : uint8_t { kNotInTaskList, kNotInPidTable };
  uint32_t process = 0;  // its row
  Kind kind = Kind::kNotInTaskList;
};

/// What a process was started as.
struct ProcessDetails {
  std::optional<std::string> exe;   // path; "… (deleted)" like /proc/PID/exe
  std::optional<std::string> args;  // each followed by NUL
  bool argsAbsent = false;          // there are some, but their pages are not in memory

  friend bool operator==(const ProcessDetails&, const ProcessDetails&) = default;
};

}  // namespace xfilter
