#pragma once

#include <vector>

#include "walk/files.h"
#include "walk/live_processes.h"

namespace xfilter {

/// One round over the descriptors of a guest that runs: what they lead to is read, and then it is made sure
/// that they all still did while it was. docs/consistency.md has the order of the reads, and why.
class Holdings {
 public:
  Holdings(WalkContext& walk, LiveProcesses& processes, bool firstRound);

  /// A descriptor to look at again; the table is among the `holders`.
  struct Slot {
    VirtualAddress files;
    uint32_t fd = 0;

    friend auto operator<=>(const Slot&, const Slot&) = default;
  };
  struct Work {
    std::vector<TableHolder> holders;
    AddressIndex whole{};     // of these tables all descriptors are read
    std::vector<Slot> slots;  // of the others, these

    void addTable(const TableHolder& holder);
  };

  /// Reads what `work` says, and makes sure of it and of `rows`, the processes concerned. `again` says what
  /// did not stand and may be read again. In the `last` round a socket that is surely the same, but whose
  /// addresses never read the same twice, stands: whoever makes them change may not hide by it. False, and
  /// nothing said, once the budget is spent: no further pass is begun then.
  bool read(Work& work, const std::vector<uint32_t>& rows, bool last);

  /// Of each of `rows`.
  std::vector<LiveProcesses::Verdict> verdicts;
  /// What stood the test.
  HeldSockets held;
  /// What did not.
  Work again;
  std::vector<uint32_t> changedRows;
  uint32_t failures = 0;   // descriptors and tables
  uint32_t unsettled = 0;  // sockets that stand as they read last

 private:
  enum class Found : uint8_t { kNoSocket, kTrue, kUnsettled, kFailed };
  enum class SlotNow : uint8_t { kSame, kClosed, kOther };

  bool renew(Pass pass);
  void keepWanted(Work& work);
  std::vector<bool> holdersOfSockets() const;
  void compareIds(const std::vector<uint32_t>& rows);
  void compareSlots();
  void compareFiles();
  void compareSockets();
  void compareInodes();
  bool sameHeader(size_t table);
  bool sameRows(uint32_t file) const;
  void judge(const std::vector<uint32_t>& rows);
  FdTables standing(bool last);
  void take(const FdTables& tables);

  WalkContext& walk_;
  bool firstRound_;
  const Layout& layout_;
  LiveProcesses& processes_;
  FdTables tables_;
  FileWalk first_, second_;
  std::vector<Found> found_;        // of each file
  std::vector<SlotNow> slots_;      // of each descriptor
  std::vector<bool> headerSame_;    // of each table
  std::vector<bool> idsSame_;       // of each of `rows`
  std::vector<bool> processHolds_;  // of each process: what was read of its tables was its own
};

}  // namespace xfilter
