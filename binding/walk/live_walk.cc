#include "walk/live_walk.h"

#include <algorithm>

#include "walk/holdings.h"

namespace xfilter {
namespace {

constexpr int kRounds = 5;
constexpr uint32_t kNoRow = LiveProcesses::kNoRow;

bool sameEnds(const Socket& a, const Socket& b) {
  return a.localPort == b.localPort && a.remotePort == b.remotePort && a.localAddress == b.localAddress &&
         a.remoteAddress == b.remoteAddress;
}

bool sameEnds(const OtherSocket&, const OtherSocket&) { return true; }

/// What the rounds brought together. A socket may come in several.
template <class Row>
struct Collected {
  std::vector<Row> rows;
  std::vector<Owner> owners;
  uint32_t abandoned = 0;

  void add(const std::vector<Row>& more, const std::vector<Owner>& ownersOfThem) {
    const auto first = static_cast<uint32_t>(rows.size());
    rows.insert(rows.end(), more.begin(), more.end());
    for (Owner owner : ownersOfThem) {
      owner.socket += first;
      owners.push_back(owner);
    }
  }

  void dropOwnersOf(const std::vector<bool>& processes) {
    std::erase_if(owners, [&](const Owner& owner) {
      return owner.process < processes.size() && processes[owner.process];
    });
  }

  // Of several readings of a sock the last one counts, for the owners of the others too if it is the same
  // socket. Who held it when its addresses were others may have let go of it since: he is left out, and
  // counted. A row that nobody holds after all is left out, too: the kernel's tables may have it.
  void settle(const std::vector<uint32_t>& processRows) {
    AddressIndex rowOfSock;
    for (uint32_t row = 0; row < rows.size(); ++row) *rowOfSock.insert(rows[row].sock, row).first = row;
    std::vector<bool> isHeld(rows.size());
    std::erase_if(owners, [&](Owner& owner) {
      const uint32_t last = *rowOfSock.insert(rows[owner.socket].sock, 0).first;
      const uint32_t process = processRows[owner.process];
      if (process == kNoRow || rows[last].inode != rows[owner.socket].inode) return true;
      if (!sameEnds(rows[last], rows[owner.socket])) {
        ++abandoned;
        return true;
      }
      owner.socket = last;
      owner.process = process;
      isHeld[last] = true;
      return false;
    });
    std::vector<uint32_t> newRows(rows.size(), kNoRow);
    std::vector<Row> kept;
    for (uint32_t row = 0; row < rows.size(); ++row) {
      if (!isHeld[row]) continue;
      newRows[row] = static_cast<uint32_t>(kept.size());
      kept.push_back(rows[row]);
    }
    rows = std::move(kept);
    for (Owner& owner : owners) owner.socket = newRows[owner.socket];
    std::sort(owners.begin(), owners.end());
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  }
};

class Rounds {
 public:
  explicit Rounds(WalkContext& walk) : walk_(walk), processes_(walk) {}

  TasksAndSockets take() {
    for (int round = 0; round < kRounds && walk_.budget.spendLong(); ++round) {
      if (round > 0 && !processes_.unsettled() && rows_.empty() && work_.holders.empty()) break;
      const Quality before = walk_.quality;
      readRound(round);
      if (round == 0) continue;
      walk_.quality.threads = before.threads;
      walk_.quality.fdTables = before.fdTables;
      walk_.quality.files = before.files;
    }
    walk_.quality.abandoned += failures_;
    walk_.quality.torn += unconfirmed_;

    TasksAndSockets result;
    std::vector<uint32_t> newRows;
    result.tasks = processes_.take(newRows);
    sockets_.settle(newRows);
    others_.settle(newRows);
    walk_.quality.abandoned += sockets_.abandoned;
    result.held.sockets = std::move(sockets_.rows);
    result.held.owners = std::move(sockets_.owners);
    result.held.others = std::move(others_.rows);
    result.held.otherOwners = std::move(others_.owners);
    result.held.rings = std::move(rings_);
    for (uint32_t row = 0; row < result.held.sockets.size(); ++row) {
      result.held.rows.insert(result.held.sockets[row].sock, row);
    }
    walk_.quality.processes = static_cast<uint32_t>(result.tasks.processes.size());
    return result;
  }

 private:
  void readRound(int round) {
    const Quality before = walk_.quality;
    walk_.renew(round == 0 ? Pass::kTasks : Pass::kOther);
    std::vector<uint32_t> fresh;
    processes_.find(round == 0, fresh);
    walk_.quality.forgive(before);
    for (const uint32_t row : fresh) {
      rows_.push_back(row);
      for (const TableHolder& holder : processes_.tablesOf(row)) work_.addTable(holder);
    }
    for (const TableHolder& holder : work_.holders) rows_.push_back(holder.process);
    std::sort(rows_.begin(), rows_.end());
    rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());

    Holdings holdings(walk_, processes_, round == 0);
    if (!holdings.read(work_, rows_, round + 1 == kRounds)) return;
    std::vector<bool> moved;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (holdings.verdicts[i] != LiveProcesses::Verdict::kMoved) continue;
      if (moved.size() <= rows_[i]) moved.resize(rows_[i] + 1);
      moved[rows_[i]] = true;
    }
    sockets_.dropOwnersOf(moved);
    others_.dropOwnersOf(moved);
    sockets_.add(holdings.held.sockets, holdings.held.owners);
    others_.add(holdings.held.others, holdings.held.otherOwners);
    rings_.insert(rings_.end(), holdings.held.rings.begin(), holdings.held.rings.end());

    walk_.quality.torn += holdings.unsettled;
    failures_ = holdings.failures;
    unconfirmed_ = static_cast<uint32_t>(holdings.changedRows.size());
    walk_.quality.retries += failures_ + unconfirmed_;
    work_ = std::move(holdings.again);
    rows_ = std::move(holdings.changedRows);
  }

  WalkContext& walk_;
  LiveProcesses processes_;
  std::vector<uint32_t> rows_;  // to be made sure of
  Holdings::Work work_;
  Collected<Socket> sockets_;
  Collected<OtherSocket> others_;
  std::vector<VirtualAddress> rings_;
  uint32_t failures_ = 0;
  uint32_t unconfirmed_ = 0;
};

}  // namespace

TasksAndSockets walkLive(WalkContext& walk) { return Rounds(walk).take(); }

}  // namespace xfilter
