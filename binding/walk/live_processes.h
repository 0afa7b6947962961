#pragma once

#include <vector>

#include "walk/lists.h"
#include "walk/task_reader.h"

namespace xfilter {

/// The processes of a guest that runs: listed, read, and read again until a row read the same twice. Which
/// tables they use is said again for each reading.
class LiveProcesses {
 public:
  explicit LiveProcesses(WalkContext& walk);

  /// How a process compares with what was read of it before.
  enum class Verdict : uint8_t {
    kSame,
    kChanged,  // in columns by which nothing is attributed; the row is the newer
    kMoved,    // its ids or its fd tables: what was attributed to it may not be true
    kGone,
  };

  /// Follows the list and looks into the pid tables, as long as that may say more, and reads the processes
  /// that it does not know; their rows are appended to `fresh`. Two passes: the list, then the tables.
  void find(bool firstRound, std::vector<uint32_t>& fresh);

  /// Whether the ids of a process are still those of its row.
  bool sameIds(uint32_t row);
  void prefetchIds(uint32_t row);
  /// Reads processes again, and says of each how it compares.
  std::vector<Verdict> readAgain(const std::vector<uint32_t>& rows);

  /// The tables that a process used when it was last read.
  std::span<const TableHolder> tablesOf(uint32_t row) const;

  /// Whether another look at the list or the pid tables would say more than what is known.
  bool unsettled() const { return listAgain_ || checks_ == 1; }

  /// What `take` made of a row; kNoRow if the process is gone.
  static constexpr uint32_t kNoRow = ~uint32_t{0};
  /// The rows of those that are still there; `newRows` says where each one went.
  Tasks take(std::vector<uint32_t>& newRows);

 private:
  struct Row {
    uint64_t identity = 0;                 // as the list had it
    std::optional<TaskMembers> members{};  // in a pass before that in which it was read
    size_t firstTable = 0, lastTable = 0;
    bool gone = false;
    bool hidden = false;  // not in the list
  };

  /// A process that is to be read.
  struct Found {
    VirtualAddress task;
    uint64_t identity = 0;
    std::optional<TaskMembers> members{};
  };

  std::vector<Found> list();
  void read(std::vector<Found>& found, std::vector<uint32_t>& fresh);
  VirtualAddress maybeForking();
  void crossCheck(std::vector<uint32_t>& fresh);
  void addHidden(std::vector<LiveNode> unlisted, std::vector<uint32_t>& fresh);
  uint64_t identityOf(VirtualAddress task);
  std::optional<uint32_t> rowOf(VirtualAddress task);
  bool add(const Found& found, bool hidden, std::vector<uint32_t>& fresh);
  bool isLinked(VirtualAddress task);
  bool isInPidTable(VirtualAddress task);
  bool isInPlace(uint32_t row);
  bool isSame(uint32_t row, const std::optional<TaskMembers>& members) const;
  Verdict compare(uint32_t row, const Process& now, std::span<const TableHolder> tables);

  WalkContext& walk_;
  const decltype(Layout::task_struct)& member_;
  TaskReader reader_;
  Tasks tasks_;  // tables of all readings
  std::vector<Row> rows_;
  AddressIndex rowOfTask_;  // the latest row of a task
  bool listAgain_ = true, listTorn_ = false;
  int checks_ = 0;                  // of the pid tables
  std::vector<LiveNode> unlisted_;  // tasks that only they had
  std::vector<uint32_t> untabled_;  // rows that init_pid_ns did not have
};

}  // namespace xfilter
