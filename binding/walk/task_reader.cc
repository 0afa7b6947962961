#include "walk/task_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "walk/lists.h"

namespace xfilter {
namespace {

constexpr uint32_t kPfKthread = 0x0020'0000;
constexpr uint32_t kMaxPidLevel = 32;  // MAX_PID_NS_LEVEL

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

Lines taskLines(const Layout& layout) {
  const auto& member = layout.task_struct;
  Lines lines;
  for (const Field* field :
       {&member.tgid, &member.flags, &member.exit_state, &member.comm, &member.real_parent, &member.real_cred,
        &member.signal, &member.files, &member.state}) {
    lines.add(*field);
  }
  for (const auto* field : {&member.loginuid, &member.sessionid, &member.nsproxy, &member.thread_pid,
                            &member.on_cpu, &member.cpu, &member.startTime, &layout.ioUring.io_uring}) {
    lines.add(*field);
  }
  if (layout.cgroup) lines.add(layout.cgroup->cgroups);
  return lines;
}

// Zeros would say root.
void forgetIds(Process& process) {
  process.uid = process.gid = process.suid = process.sgid = kNoId;
  process.euid = process.egid = process.fsuid = process.fsgid = kNoId;
}

}  // namespace

void readIds(WalkContext& walk, VirtualAddress task, Process& process, bool anew) {
  // A cred is never changed, another takes its place: what was read is the task's if it still has the same.
  constexpr int kMaxTries = 16;
  const auto& member = walk.layout().cred;
  const VirtualAddress pointer = task + walk.layout().task_struct.real_cred.offset;
  // struct cred: uid, gid, suid, sgid, euid, egid, fsuid, fsgid, one after the other.
  constexpr size_t ids = 8 * sizeof(uint32_t);
  for (int tries = 0; tries < kMaxTries; ++tries) {
    const auto address = walk.memory.readPointer(pointer);
    orderReads();
    if (anew && address) walk.memory.refresh(*address + member.uid.offset, ids);
    GuestObject cred(walk.memory, address.value_or(VirtualAddress{}));
    process.uid = cred.integer32(member.uid);
    process.gid = cred.integer32(member.gid);
    process.suid = cred.integer32(member.suid);
    process.sgid = cred.integer32(member.sgid);
    process.euid = cred.integer32(member.euid);
    process.egid = cred.integer32(member.egid);
    process.fsuid = cred.integer32(member.fsuid);
    process.fsgid = cred.integer32(member.fsgid);
    if (walk.live()) {
      orderReads();
      if (anew) walk.memory.refresh(pointer, sizeof(uint64_t));
      if (walk.memory.readPointer(pointer) != address) {
        ++walk.quality.retries;
        continue;
      }
    }
    if (!cred.ok()) {
      ++walk.quality.badPointers;
      forgetIds(process);
    }
    return;
  }
  ++walk.quality.torn;
  forgetIds(process);
}

TaskReader::TaskReader(WalkContext& walk)
    : walk_(walk),
      layout_(walk.layout()),
      member_(layout_.task_struct),
      lines_(taskLines(layout_)),
      cgroups_(walk) {
  if (walk.kernel.symbols.init_pid_ns) pidNamespaces_.push_back(*walk.kernel.symbols.init_pid_ns);
}

bool TaskReader::read(VirtualAddress address, uint32_t row, Tasks& tasks) {
  tasks_ = &tasks;
  row_ = row;
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
  readIds(walk_, address, process);
  process.cgroup = cgroups_.of(task);
  if (member_.thread_pid) readOwnPid(task.pointer(*member_.thread_pid), process);

  const size_t firstTable = tasks.tables.size();
  readNetns(task, process);
  readThread(task, firstTable, process);
  readThreads(task, firstTable, process);
  if (!task.ok()) {
    ++walk_.quality.badPointers;
    tasks.tables.resize(firstTable);
    return false;
  }
  tasks.processes.push_back(process);
  return true;
}

std::optional<TaskMembers> TaskReader::members(VirtualAddress address) {
  constexpr size_t kWord = sizeof(uint64_t);
  TaskMembers values{};
  size_t count = 0;
  GuestObject task(walk_.memory, address);
  for (const Field* field : {&member_.tgid, &member_.flags, &member_.real_parent, &member_.real_cred,
                             &member_.signal, &member_.files}) {
    values[count++] = task.integer(*field);
  }
  for (const auto* field : {&member_.startTime, &member_.loginuid, &member_.sessionid, &member_.nsproxy,
                            &member_.thread_pid, &layout_.ioUring.io_uring}) {
    values[count++] = *field ? task.integer(**field) : 0;
  }
  values[count++] = layout_.cgroup ? task.integer(layout_.cgroup->cgroups) : 0;
  const size_t rest = (values.size() - count) * kWord;
  task.copy(member_.comm.offset, &values[count], std::min<size_t>(member_.comm.size, rest));
  if (!task.ok()) return std::nullopt;
  return values;
}

// All that a task leads to at once, before any of it is read.
void TaskReader::prefetchRelated(GuestObject& task) {
  walk_.memory.prefetch(task.pointer(member_.real_cred));
  walk_.memory.prefetch(task.pointer(member_.real_parent) + member_.tgid.offset);
  const VirtualAddress signal = task.pointer(member_.signal);
  walk_.memory.prefetch(signal + layout_.signal_struct.thread_head.offset);
  if (layout_.signal_struct.pids) walk_.memory.prefetch(signal + layout_.signal_struct.pids->offset);
  if (member_.thread_pid) walk_.memory.prefetch(task.pointer(*member_.thread_pid));
  if (member_.nsproxy) walk_.memory.prefetch(task.pointer(*member_.nsproxy));
}

void TaskReader::readComm(GuestObject& task, Process& process) {
  const size_t size = std::min<size_t>(member_.comm.size, process.comm.size());
  task.copy(member_.comm.offset, process.comm.data(), size);
  process.commSize = static_cast<uint8_t>(strnlen(process.comm.data(), size));
}

void TaskReader::readParent(GuestObject& task, Process& process) {
  GuestObject parent(walk_.memory, task.pointer(member_.real_parent));
  process.ppid = parent.integer32(member_.tgid);
  if (!parent.ok()) ++walk_.quality.badPointers;
}

// A thread that has exited has left its namespaces; another of the process may still be in them.
void TaskReader::readNetns(GuestObject& thread, Process& process) {
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
void TaskReader::readOwnPid(VirtualAddress address, Process& process) {
  if (!address) return;
  const auto& member = layout_.pid;
  GuestObject pid(walk_.memory, address);
  const uint32_t level = pid.integer32(member.level);
  // No struct pid has such a level: it was freed, and its memory is something else's.
  if (level > kMaxPidLevel) {
    ++walk_.quality.torn;
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
void TaskReader::readThread(GuestObject& task, size_t firstTable, Process& process) {
  ++walk_.quality.threads;
  auto& tables = tasks_->tables;
  const VirtualAddress files = task.pointer(member_.files);
  if (files && std::none_of(tables.begin() + static_cast<ptrdiff_t>(firstTable), tables.end(),
                            [&](const TableHolder& holder) { return holder.files == files; })) {
    tables.push_back({files, row_, task.address()});
  }
  readRings(task);
  if (process.cpu < 0 && member_.on_cpu && member_.cpu && task.integer(*member_.on_cpu) != 0) {
    process.cpu = static_cast<int32_t>(task.integer32(*member_.cpu));
  }
}

void TaskReader::readRings(GuestObject& task) {
  const auto& member = layout_.ioUring;
  if (!member.io_uring || !member.registered_rings) return;
  const VirtualAddress address = task.pointer(*member.io_uring);
  if (!address) return;
  GuestObject context(walk_.memory, address);
  for (uint32_t i = 0; i < member.registered_rings->elements; ++i) {
    const VirtualAddress file{context.integer(member.registered_rings->offset + i * 8, 8)};
    if (file) tasks_->rings.push_back(file);
  }
  if (!context.ok()) ++walk_.quality.badPointers;
}

void TaskReader::readThreads(GuestObject& leader, size_t firstTable, Process& process) {
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
    readThread(thread, firstTable, process);
    readNetns(thread, process);
    if (!thread.ok()) ++walk_.quality.badPointers;
  });
}

void TaskReader::readSession(GuestObject& signal, Process& process) {
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

}  // namespace xfilter
