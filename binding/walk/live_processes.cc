#include "walk/live_processes.h"

#include <algorithm>

#include "walk/pid_table.h"

namespace xfilter {
namespace {

constexpr char kDead = 'X';  // being taken out of the lists, one after the other

}  // namespace

LiveProcesses::LiveProcesses(WalkContext& walk)
    : walk_(walk), member_(walk.layout().task_struct), reader_(walk) {}

// The start time is a clock's: no other process of this boot has the same pid and it.
uint64_t LiveProcesses::identityOf(VirtualAddress task) {
  GuestObject object(walk_.memory, task);
  const uint64_t pid = object.integer32(member_.tgid);
  const uint64_t since =
      member_.startTime ? object.integer(*member_.startTime) : object.pointer(member_.signal).value;
  return since ^ pid << 48;
}

std::optional<uint32_t> LiveProcesses::rowOf(VirtualAddress task) {
  const auto [row, isNew] = rowOfTask_.insert(task, kNoRow);
  if (*row == kNoRow) return std::nullopt;
  return *row;
}

bool LiveProcesses::add(const Found& found, bool hidden, std::vector<uint32_t>& fresh) {
  if (rows_.size() >= walk_.roomFor(kMinTaskSize)) {
    ++walk_.quality.limited;
    return false;
  }
  const auto row = static_cast<uint32_t>(rows_.size());
  const size_t firstTable = tasks_.tables.size();
  if (!reader_.read(found.task, row, tasks_)) return false;
  rows_.push_back({found.identity, found.members, firstTable, tasks_.tables.size(), false, hidden});
  *rowOfTask_.insert(found.task, kNoRow).first = row;
  fresh.push_back(row);
  return true;
}

void LiveProcesses::find(bool firstRound, std::vector<uint32_t>& fresh) {
  const bool check = checks_ < 2 && walk_.layout().pidTable && walk_.kernel.symbols.init_pid_ns;
  std::vector<Found> found;
  if (listAgain_ || (check && checks_ == 1)) found = list();
  // What a task leads to is its own if it is read later than the pointers to it, and they stay the same; and
  // what the list has, a pid table of before may lack.
  walk_.renew(firstRound ? Pass::kDescriptors : Pass::kOther);
  read(found, fresh);
  if (check) crossCheck(fresh);
}

std::vector<LiveProcesses::Found> LiveProcesses::list() {
  const uint32_t torn = walk_.quality.torn;
  const uint32_t tasks = member_.tasks.offset;
  prefetchLeaders(walk_);
  auto nodes = followLiveList(walk_, *walk_.kernel.symbols.init_task + tasks,
                              [&](VirtualAddress node) { return identityOf(node - tasks); });
  listAgain_ = listTorn_ = walk_.quality.torn != torn;
  nodes.erase(std::remove_if(nodes.begin(), nodes.end(),
                             [&](const LiveNode& node) {
                               const auto row = rowOf(node.address - tasks);
                               return row && !rows_[*row].gone && rows_[*row].identity == node.identity;
                             }),
              nodes.end());
  std::vector<Found> found;
  found.reserve(nodes.size());
  forEachAhead(
      walk_.memory, nodes, [&](const LiveNode& node) { reader_.prefetch(node.address - tasks); },
      [&](const LiveNode& node) {
        const VirtualAddress task = node.address - tasks;
        found.push_back({task, node.identity, reader_.members(task)});
      });
  return found;
}

void LiveProcesses::read(std::vector<Found>& found, std::vector<uint32_t>& fresh) {
  forEachAhead(
      walk_.memory, found, [&](const Found& process) { reader_.prefetch(process.task); },
      [&](const Found& process) { add(process, false, fresh); });
}

// A fork links its child at the list's end, and then puts it into the pid table, both while it holds
// tasklist_lock for writing (copy_process in kernel/fork.c): where its virtual CPU is taken away in between,
// the child is the last one for as long. Looked for before the table: who is not the last by then has his
// fork behind him.
VirtualAddress LiveProcesses::maybeForking() {
  const VirtualAddress head = *walk_.kernel.symbols.init_task + member_.tasks.offset;
  const auto last = walk_.memory.readPointer(head + walk_.layout().list_head.prev.offset);
  orderReads();
  return last && *last ? *last - member_.tasks.offset : VirtualAddress{};
}

void LiveProcesses::crossCheck(std::vector<uint32_t>& fresh) {
  const VirtualAddress forking = maybeForking();
  std::vector<bool> inTable(rows_.size());
  std::vector<LiveNode> unlisted;
  const std::vector<VirtualAddress> namespaces = reader_.pidNamespaces();
  AddressIndex known;
  for (size_t i = 0; i < namespaces.size(); ++i) {
    if (!known.insert(namespaces[i], 0).second) continue;
    forEachPid(walk_, namespaces[i], [&](VirtualAddress pid) {
      const VirtualAddress task = leaderOf(walk_, pid);
      if (!task) return;
      const auto row = rowOf(task);
      if (row && !rows_[*row].gone) {
        if (i == 0) inTable[*row] = true;
      } else {
        unlisted.push_back({task, identityOf(task)});
      }
    });
  }
  std::vector<uint32_t> untabled;
  // A table that cannot be read at all says nothing about anybody.
  if (std::any_of(inTable.begin(), inTable.end(), [](bool found) { return found; })) {
    for (uint32_t row = 0; row < inTable.size(); ++row) {
      const bool before = checks_ == 0 || std::binary_search(untabled_.begin(), untabled_.end(), row);
      if (inTable[row] || !before || rows_[row].gone || rows_[row].hidden) continue;
      if (checks_ == 0 || tasks_.processes[row].task != forking) untabled.push_back(row);
    }
  }
  untabled_ = std::move(untabled);
  if (checks_++ == 0) {
    unlisted_ = std::move(unlisted);
  } else {
    addHidden(std::move(unlisted), fresh);
  }
  // What began or ended meanwhile is not looked for again.
  if (unlisted_.empty() && untabled_.empty()) checks_ = 2;
}

// A process enters the list before its pid table and leaves it after that. So what the table had before the
// list was followed, and still has, should be in the list.
void LiveProcesses::addHidden(std::vector<LiveNode> unlisted, std::vector<uint32_t>& fresh) {
  std::sort(unlisted.begin(), unlisted.end());
  std::sort(unlisted_.begin(), unlisted_.end());
  std::vector<LiveNode> both;
  std::set_intersection(unlisted.begin(), unlisted.end(), unlisted_.begin(), unlisted_.end(),
                        std::back_inserter(both));
  both.erase(std::unique(both.begin(), both.end()), both.end());
  for (const LiveNode& node : both) {
    if (isInPidTable(node.address)) add({node.address, node.identity}, true, fresh);
  }
  unlisted_.clear();
}

void LiveProcesses::prefetchIds(uint32_t row) {
  walk_.memory.prefetch(tasks_.processes[row].task + member_.real_cred.offset);
}

bool LiveProcesses::sameIds(uint32_t row) {
  Process now;
  readIds(walk_, tasks_.processes[row].task, now, true);
  return now.sameIds(tasks_.processes[row]);
}

// In the list: its predecessor leads to it. That may be exchanged between the two reads.
bool LiveProcesses::isLinked(VirtualAddress task) {
  constexpr int kMaxTries = 8;
  const auto& list = walk_.layout().list_head;
  const VirtualAddress node = task + member_.tasks.offset;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    orderReads();
    const auto before = walk_.memory.readPointer(node + list.prev.offset);
    if (!before) return false;
    orderReads();
    // A node that leads to itself is in no list.
    if (*before != node && walk_.memory.readPointer(*before + list.next.offset) == node) return true;
    walk_.memory.refresh(node + list.prev.offset, sizeof(uint64_t));
    walk_.memory.refresh(*before + list.next.offset, sizeof(uint64_t));
  }
  return false;
}

bool LiveProcesses::isInPidTable(VirtualAddress task) {
  if (!member_.thread_pid) return false;
  const auto pid = walk_.memory.readPointer(task + member_.thread_pid->offset);
  return pid && *pid && leaderOf(walk_, *pid) == task;
}

// A process of one thread is the same if its task_struct is: then all of it is, and its tables. What is
// attributed by its ids, those are read again for.
bool LiveProcesses::isSame(uint32_t row, const std::optional<TaskMembers>& members) const {
  const Process& process = tasks_.processes[row];
  const auto tables = tablesOf(row);
  return members && members == rows_[row].members && process.threads == 1 &&
         std::all_of(tables.begin(), tables.end(),
                     [&](const TableHolder& holder) { return holder.task == process.task; });
}

bool LiveProcesses::isInPlace(uint32_t row) {
  const VirtualAddress task = tasks_.processes[row].task;
  return identityOf(task) == rows_[row].identity && (rows_[row].hidden ? isInPidTable(task) : isLinked(task));
}

LiveProcesses::Verdict LiveProcesses::compare(uint32_t row, const Process& now,
                                              std::span<const TableHolder> tables) {
  const Process& before = tasks_.processes[row];
  if (now.pid != before.pid || now.startTime != before.startTime || !isInPlace(row)) return Verdict::kGone;
  const auto known = tablesOf(row);
  if (!now.sameIds(before) || !std::equal(tables.begin(), tables.end(), known.begin(), known.end())) {
    return Verdict::kMoved;
  }
  return before.sameColumns(now) ? Verdict::kSame : Verdict::kChanged;
}

std::vector<LiveProcesses::Verdict> LiveProcesses::readAgain(const std::vector<uint32_t>& rows) {
  reader_.cgroups().renew();
  std::vector<Verdict> verdicts;
  verdicts.reserve(rows.size());
  Tasks now;
  const uint32_t threads = walk_.quality.threads;
  forEachAhead(
      walk_.memory, rows, [&](uint32_t row) { reader_.prefetch(tasks_.processes[row].task); },
      [&](uint32_t row) {
        now.processes.clear();
        now.tables.clear();
        const Quality before = walk_.quality;
        Verdict verdict = Verdict::kGone;
        const VirtualAddress task = tasks_.processes[row].task;
        // What is left of a walk whose time is up has no result.
        if (!walk_.budget.spend() || (isSame(row, reader_.members(task)) && isInPlace(row))) {
          verdicts.push_back(Verdict::kSame);
          return;
        }
        if (reader_.read(task, row, now)) {
          verdict = compare(row, now.processes[0], now.tables);
        }
        if (verdict == Verdict::kGone) {
          rows_[row].gone = true;
          // Its place in the list may have led past others: docs/consistency.md.
          listAgain_ = true;
        } else {
          tasks_.processes[row] = now.processes[0];
          // Of this pass are both they and it: the next look reads all of it again.
          rows_[row].members.reset();
        }
        if (verdict == Verdict::kMoved) {
          rows_[row].firstTable = tasks_.tables.size();
          tasks_.tables.insert(tasks_.tables.end(), now.tables.begin(), now.tables.end());
          rows_[row].lastTable = tasks_.tables.size();
        }
        if (verdict != Verdict::kSame) walk_.quality.forgive(before);
        verdicts.push_back(verdict);
      });
  walk_.quality.threads = threads;
  tasks_.rings.insert(tasks_.rings.end(), now.rings.begin(), now.rings.end());
  return verdicts;
}

std::span<const TableHolder> LiveProcesses::tablesOf(uint32_t row) const {
  return std::span(tasks_.tables)
      .subspan(rows_[row].firstTable, rows_[row].lastTable - rows_[row].firstTable);
}

Tasks LiveProcesses::take(std::vector<uint32_t>& newRows) {
  if (listTorn_) ++walk_.quality.torn;
  Tasks taken;
  taken.rings = std::move(tasks_.rings);
  taken.cgroups = reader_.cgroups().takePaths();
  newRows.assign(rows_.size(), kNoRow);
  for (uint32_t row = 0; row < rows_.size(); ++row) {
    if (rows_[row].gone) continue;
    newRows[row] = static_cast<uint32_t>(taken.processes.size());
    taken.processes.push_back(tasks_.processes[row]);
    if (rows_[row].hidden) taken.discrepancies.push_back({newRows[row], Discrepancy::Kind::kNotInTaskList});
  }
  if (checks_ < 2) return taken;
  for (const uint32_t row : untabled_) {
    if (rows_[row].gone || tasks_.processes[row].state == kDead) continue;
    taken.discrepancies.push_back({newRows[row], Discrepancy::Kind::kNotInPidTable});
  }
  return taken;
}

}  // namespace xfilter
