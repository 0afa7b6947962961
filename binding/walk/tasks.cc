#include "walk/tasks.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "walk/ahead.h"
#include "walk/cgroups.h"
#include "walk/pid_table.h"

namespace xfilter {
namespace {

constexpr uint32_t kPfKthread = 0x0020'0000;
// A task_struct and its kernel stack (16 KiB) take more.
constexpr uint64_t kMinTaskSize = 16 << 10;
constexpr uint32_t kMaxPidLevel = 32;  // MAX_PID_NS_LEVEL
constexpr uint32_t kNoRow = ~uint32_t{0};

// The letter of /proc/PID/stat, as fs/proc/array.c derives it: the highest bit set of those that are
// reported, for which a letter stands in "RSDTtXZPI". Values since 4.14.
char stateLetter(uint32_t state, uint32_t exitState) {
  constexpr uint32_t kUninterruptible = 0x2;
  constexpr uint32_t kReported = 0x7f;
  constexpr uint32_t kIdle = 0x402;              // TASK_UNINTERRUPTIBLE | TASK_NOLOAD
  constexpr uint32_t kReportedIdle = 0x80;       // one above the reported bits
  constexpr uint32_t kShownAsSleeping = 0x9000;  // TASK_RTLOCK_WAIT (5.15), TASK_FROZEN (6.1)
  constexpr char kLetters[] = "RSDTtXZPI";
  uint32_t reported = (state | exitState) & kReported;
  if ((state & kIdle) == kIdle) reported = kReportedIdle;
  if (state & kShownAsSleeping) reported = kUninterruptible;
  return kLetters[std::bit_width(reported)];
}

class TaskReader {
 public:
  explicit TaskReader(WalkContext& walk)
      : walk_(walk),
        layout_(walk.layout()),
        member_(layout_.task_struct),
        maxProcesses_(walk.roomFor(kMinTaskSize)),
        cgroups_(walk) {}

  Tasks take() {
    const VirtualAddress head = *walk_.kernel.symbols.init_task + member_.tasks.offset;
    std::vector<VirtualAddress> leaders;
    forEachListNode(walk_, head, [&](VirtualAddress node) {
      if (leaders.size() < maxProcesses_) leaders.push_back(node - member_.tasks.offset);
    });
    const Lines lines = taskLines();
    forEachAhead(
        walk_.memory, leaders, [&](VirtualAddress task) { lines.prefetch(walk_.memory, task); },
        [&](VirtualAddress task) { addProcess(task); });
    if (layout_.pidTable && walk_.kernel.symbols.init_pid_ns) crossCheck();
    tasks_.cgroups = cgroups_.takePaths();
    return std::move(tasks_);
  }

 private:
  // The table of the first namespace has all; those of the others are looked at for what was taken out of it.
  void crossCheck() {
    const size_t listed = tasks_.processes.size();
    std::vector<bool> inTable(listed);
    pidNamespaces_.insert(pidNamespaces_.begin(), *walk_.kernel.symbols.init_pid_ns);
    AddressIndex knownNamespaces;
    for (size_t i = 0; i < pidNamespaces_.size(); ++i) {  // grows with what is found
      if (!knownNamespaces.insert(pidNamespaces_[i], 0).second) continue;
      forEachPid(walk_, pidNamespaces_[i], [&](VirtualAddress pid) {
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
    const size_t before = tasks_.processes.size();
    readProcess(address);
    if (tasks_.processes.size() == before) return false;
    *rows_.insert(address, kNoRow).first = lastRow();
    return true;
  }

  Lines taskLines() const {
    Lines lines;
    for (const Field* field :
         {&member_.tgid, &member_.flags, &member_.exit_state, &member_.comm, &member_.real_parent,
          &member_.real_cred, &member_.signal, &member_.files, &member_.state}) {
      lines.add(*field);
    }
    for (const auto* field : {&member_.loginuid, &member_.sessionid, &member_.nsproxy, &member_.thread_pid,
                              &member_.on_cpu, &member_.cpu, &member_.startTime, &layout_.ioUring.io_uring}) {
      lines.add(*field);
    }
    if (layout_.cgroup) lines.add(layout_.cgroup->cgroups);
    return lines;
  }

  // All that a task leads to at once, before any of it is read.
  void prefetchRelated(GuestObject& task) {
    walk_.memory.prefetch(task.pointer(member_.real_cred));
    walk_.memory.prefetch(task.pointer(member_.real_parent) + member_.tgid.offset);
    const VirtualAddress signal = task.pointer(member_.signal);
    walk_.memory.prefetch(signal + layout_.signal_struct.thread_head.offset);
    if (layout_.signal_struct.pids) walk_.memory.prefetch(signal + layout_.signal_struct.pids->offset);
    if (member_.thread_pid) walk_.memory.prefetch(task.pointer(*member_.thread_pid));
    if (member_.nsproxy) walk_.memory.prefetch(task.pointer(*member_.nsproxy));
  }

  void readProcess(VirtualAddress address) {
    GuestObject task(walk_.memory, address);
    prefetchRelated(task);
    Process process{.task = address};
    process.pid = task.integer32(member_.tgid);
    process.state = stateLetter(task.integer32(member_.state), task.integer32(member_.exit_state));
    process.kernelThread = (task.integer32(member_.flags) & kPfKthread) != 0;
    if (member_.loginuid) process.loginuid = task.integer32(*member_.loginuid);
    if (member_.sessionid) process.sessionid = task.integer32(*member_.sessionid);
    if (member_.startTime) process.startTime = task.integer(*member_.startTime);
    readComm(task, process);
    readParent(task, process);
    readCredentials(task, process);
    process.cgroup = cgroups_.of(task);
    if (member_.thread_pid) readOwnPid(task.pointer(*member_.thread_pid), process);

    const auto row = static_cast<uint32_t>(tasks_.processes.size());
    const size_t firstTable = tasks_.tables.size();
    readNetns(task, process);
    readThread(task, row, firstTable, process);
    readThreads(task, row, firstTable, process);
    if (!task.ok()) {
      ++walk_.quality.badPointers;
      tasks_.tables.resize(firstTable);
      return;
    }
    tasks_.processes.push_back(process);
  }

  void readComm(GuestObject& task, Process& process) {
    const size_t size = std::min<size_t>(member_.comm.size, process.comm.size());
    task.copy(member_.comm.offset, process.comm.data(), size);
    process.commSize = static_cast<uint8_t>(strnlen(process.comm.data(), size));
  }

  void readParent(GuestObject& task, Process& process) {
    GuestObject parent(walk_.memory, task.pointer(member_.real_parent));
    process.ppid = parent.integer32(member_.tgid);
    if (!parent.ok()) ++walk_.quality.badPointers;
  }

  void readCredentials(GuestObject& task, Process& process) {
    const auto& member = layout_.cred;
    GuestObject cred(walk_.memory, task.pointer(member_.real_cred));
    process.uid = cred.integer32(member.uid);
    process.gid = cred.integer32(member.gid);
    process.suid = cred.integer32(member.suid);
    process.sgid = cred.integer32(member.sgid);
    process.euid = cred.integer32(member.euid);
    process.egid = cred.integer32(member.egid);
    process.fsuid = cred.integer32(member.fsuid);
    process.fsgid = cred.integer32(member.fsgid);
    if (!cred.ok()) {
      // Zeros would say root.
      ++walk_.quality.badPointers;
      process.uid = process.gid = process.suid = process.sgid = kNoId;
      process.euid = process.egid = process.fsuid = process.fsgid = kNoId;
    }
  }

  // A thread that has exited has left its namespaces; another of the process may still be in them.
  void readNetns(GuestObject& thread, Process& process) {
    if (!member_.nsproxy || !layout_.nsproxy.net_ns || process.netns != 0) return;
    const VirtualAddress address = thread.pointer(*member_.nsproxy);
    if (!address) return;
    GuestObject nsproxy(walk_.memory, address);
    const VirtualAddress net = nsproxy.pointer(*layout_.nsproxy.net_ns);
    if (nsproxy.ok()) {
      process.netns = walk_.namespaceNumber(net, layout_.ns_common.netInum);
    } else {
      ++walk_.quality.badPointers;
    }
  }

  // struct pid: numbers[0] is the pid in the initial namespace, numbers[level] in its own.
  void readOwnPid(VirtualAddress address, Process& process) {
    if (!address) return;
    const auto& member = layout_.pid;
    GuestObject pid(walk_.memory, address);
    const uint32_t level = pid.integer32(member.level);
    if (level > kMaxPidLevel) {
      ++walk_.quality.limited;
      return;
    }
    const uint64_t own = member.numbers.offset + uint64_t{level} * member.upid;
    const uint64_t number = pid.integer(own + member.nr.offset, member.nr.size);
    const VirtualAddress ns{pid.integer(own + member.ns.offset, member.ns.size)};
    if (!pid.ok()) {
      ++walk_.quality.badPointers;
      return;
    }
    process.nspid = static_cast<uint32_t>(number);
    process.pidns = walk_.namespaceNumber(ns, layout_.ns_common.pidInum);
    if (pidNamespaces_.empty() || pidNamespaces_.back() != ns) pidNamespaces_.push_back(ns);
  }

  // What each thread, the leader included, adds to its process: an fd table, and the CPU if it runs.
  void readThread(GuestObject& task, uint32_t row, size_t firstTable, Process& process) {
    ++walk_.quality.threads;
    auto& tables = tasks_.tables;
    const VirtualAddress files = task.pointer(member_.files);
    if (files && std::none_of(tables.begin() + static_cast<ptrdiff_t>(firstTable), tables.end(),
                              [&](const TableHolder& holder) { return holder.files == files; })) {
      tables.push_back({files, row});
    }
    readRings(task);
    if (process.cpu < 0 && member_.on_cpu && member_.cpu && task.integer(*member_.on_cpu) != 0) {
      process.cpu = static_cast<int32_t>(task.integer32(*member_.cpu));
    }
  }

  void readRings(GuestObject& task) {
    const auto& member = layout_.ioUring;
    if (!member.io_uring || !member.registered_rings) return;
    const VirtualAddress address = task.pointer(*member.io_uring);
    if (!address) return;
    GuestObject context(walk_.memory, address);
    for (uint32_t i = 0; i < member.registered_rings->elements; ++i) {
      const VirtualAddress file{context.integer(member.registered_rings->offset + i * 8, 8)};
      if (file) tasks_.rings.push_back(file);
    }
    if (!context.ok()) ++walk_.quality.badPointers;
  }

  void readThreads(GuestObject& leader, uint32_t row, size_t firstTable, Process& process) {
    const VirtualAddress address = leader.pointer(member_.signal);
    GuestObject signal(walk_.memory, address);
    const auto& member = layout_.signal_struct;
    process.threads = signal.integer32(member.nr_threads);
    if (member.pids) readSession(signal, process);
    if (!signal.ok()) {
      ++walk_.quality.badPointers;
      return;
    }
    forEachListNode(walk_, address + member.thread_head.offset, [&](VirtualAddress node) {
      const VirtualAddress threadAddress = node - member_.thread_node.offset;
      if (threadAddress == leader.address()) return;
      GuestObject thread(walk_.memory, threadAddress);
      readThread(thread, row, firstTable, process);
      readNetns(thread, process);
      if (!thread.ok()) ++walk_.quality.badPointers;
    });
  }

  void readSession(GuestObject& signal, Process& process) {
    const auto& member = layout_.signal_struct;
    const uint64_t slot = member.pids->offset + member.sessionIndex * sizeof(uint64_t);
    const VirtualAddress address{signal.integer(slot, sizeof(uint64_t))};
    if (!address) return;
    GuestObject pid(walk_.memory, address);
    const uint64_t number =
        pid.integer(layout_.pid.numbers.offset + layout_.pid.nr.offset, layout_.pid.nr.size);
    if (pid.ok()) {
      process.session = static_cast<uint32_t>(number);
    } else {
      ++walk_.quality.badPointers;
    }
  }

  WalkContext& walk_;
  const Layout& layout_;
  const decltype(Layout::task_struct)& member_;
  size_t maxProcesses_;
  Tasks tasks_;
  Cgroups cgroups_;
  AddressIndex rows_;                          // struct task_struct → row
  std::vector<VirtualAddress> pidNamespaces_;  // of the processes; some several times
};

}  // namespace

Tasks walkTasks(WalkContext& walk) {
  Tasks tasks = TaskReader(walk).take();
  walk.quality.processes = static_cast<uint32_t>(tasks.processes.size());
  return tasks;
}

}  // namespace xfilter
