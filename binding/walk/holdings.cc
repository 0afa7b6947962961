#include "walk/holdings.h"

#include <algorithm>

namespace xfilter {

using Verdict = LiveProcesses::Verdict;

void Holdings::Work::addTable(const TableHolder& holder) {
  holders.push_back(holder);
  whole.insert(holder.files, 0);
}

Holdings::Holdings(WalkContext& walk, LiveProcesses& processes, bool firstRound)
    : walk_(walk),
      firstRound_(firstRound),
      layout_(walk.layout()),
      processes_(processes),
      first_(walk),
      second_(walk) {}

bool Holdings::read(Work& work, const std::vector<uint32_t>& rows, bool last) {
  const Quality before = walk_.quality;
  tables_ = readFdTables(walk_, work.holders);
  keepWanted(work);
  first_.find(tables_.files);
  first_.readInodes();

  // Each of these steps is later than what it is to confirm.
  if (!renew(Pass::kSocks)) return false;
  first_.readSockets();
  first_.readSocks();
  compareIds(rows);
  if (!renew(Pass::kSocksAgain)) return false;
  compareFiles();
  compareSlots();
  second_.socketFiles = first_.socketFiles;
  second_.rows.resize(tables_.files.size());
  second_.otherRows.resize(tables_.files.size());
  second_.readSocks();
  if (!renew(Pass::kSocketsAgain)) return false;
  compareSockets();
  if (!renew(Pass::kTasksAgain)) return false;
  compareInodes();
  // What could not be followed did not stand; what really is broken is so at each round.
  walk_.quality.forgive(before);
  verdicts = processes_.readAgain(rows);
  headerSame_.resize(tables_.tables.size());
  for (size_t table = 0; table < tables_.tables.size(); ++table) headerSame_[table] = sameHeader(table);

  judge(rows);
  take(standing(last));
  return true;
}

// Later rounds are each over something else.
bool Holdings::renew(Pass pass) {
  if (!walk_.budget.spendLong()) return false;
  walk_.renew(firstRound_ ? pass : Pass::kOther);
  return true;
}

void Holdings::keepWanted(Work& work) {
  if (work.slots.empty()) return;
  std::sort(work.slots.begin(), work.slots.end());
  std::vector<Descriptor> kept;
  for (size_t i = 0; i < tables_.tables.size(); ++i) {
    FdTables::Table& table = tables_.tables[i];
    const VirtualAddress files = tables_.headers[i].files;
    const bool whole = work.whole.contains(files);
    const size_t first = kept.size();
    for (size_t d = table.firstDescriptor; d < table.lastDescriptor; ++d) {
      const Descriptor& descriptor = tables_.descriptors[d];
      const Slot slot{files, descriptor.fd};
      if (whole || std::binary_search(work.slots.begin(), work.slots.end(), slot)) kept.push_back(descriptor);
    }
    table.firstDescriptor = first;
    table.lastDescriptor = kept.size();
  }
  // Files that no kept descriptor leads to are followed all the same: they are few.
  tables_.descriptors = std::move(kept);
}

// By process.
std::vector<bool> Holdings::holdersOfSockets() const {
  std::vector<bool> isSocket(tables_.files.size());
  for (const SocketFile& file : first_.socketFiles) isSocket[file.file] = true;
  std::vector<bool> holders;
  for (const FdTables::Table& table : tables_.tables) {
    const auto first = tables_.descriptors.begin();
    if (std::none_of(first + static_cast<ptrdiff_t>(table.firstDescriptor),
                     first + static_cast<ptrdiff_t>(table.lastDescriptor),
                     [&](const Descriptor& descriptor) { return isSocket[descriptor.file]; })) {
      continue;
    }
    for (size_t h = table.firstHolder; h < table.lastHolder; ++h) {
      const uint32_t process = tables_.holders[h].process;
      if (holders.size() <= process) holders.resize(process + 1);
      holders[process] = true;
    }
  }
  return holders;
}

// To whom nothing is attributed, nothing can be attributed wrongly.
void Holdings::compareIds(const std::vector<uint32_t>& rows) {
  const std::vector<bool> holders = holdersOfSockets();
  const auto holds = [&](uint32_t row) { return row < holders.size() && holders[row]; };
  idsSame_.reserve(rows.size());
  forEachAhead(
      walk_.memory, rows,
      [&](uint32_t row) {
        if (holds(row)) processes_.prefetchIds(row);
      },
      [&](uint32_t row) { idsSame_.push_back(!holds(row) || processes_.sameIds(row)); });
}

void Holdings::compareFiles() {
  Lines lines;
  lines.add(layout_.file.f_op);
  lines.add(layout_.file.private_data);
  found_.assign(tables_.files.size(), Found::kNoSocket);
  for (const uint32_t file : first_.failed) found_[file] = Found::kFailed;
  forEachAhead(
      walk_.memory, first_.socketFiles,
      [&](const SocketFile& file) { lines.prefetch(walk_.memory, file.address); },
      [&](const SocketFile& file) {
        if (found_[file.file] == Found::kFailed || !walk_.budget.spend()) return;
        GuestObject object(walk_.memory, file.address);
        const bool same = object.pointer(layout_.file.f_op) == *walk_.kernel.symbols.socket_file_ops &&
                          object.pointer(layout_.file.private_data) == file.socket && object.ok();
        found_[file.file] = same ? Found::kTrue : Found::kFailed;
      });
}

void Holdings::compareSlots() {
  slots_.assign(tables_.descriptors.size(), SlotNow::kSame);
  for (size_t i = 0; i < tables_.tables.size(); ++i) {
    for (size_t d = tables_.tables[i].firstDescriptor; d < tables_.tables[i].lastDescriptor; ++d) {
      const Descriptor& descriptor = tables_.descriptors[d];
      if (found_[descriptor.file] == Found::kNoSocket || !walk_.budget.spend()) continue;
      const VirtualAddress slot = tables_.headers[i].slots + uint64_t{descriptor.fd} * sizeof(uint64_t);
      const auto now = walk_.memory.readPointer(slot);
      if (now && *now == tables_.files[descriptor.file]) continue;
      slots_[d] = now && !*now ? SlotNow::kClosed : SlotNow::kOther;
    }
  }
}

void Holdings::compareSockets() {
  Lines lines;
  lines.add(layout_.socket.file);
  lines.add(layout_.socket.sk);
  forEachAhead(
      walk_.memory, first_.socketFiles,
      [&](const SocketFile& file) { lines.prefetch(walk_.memory, file.socket); },
      [&](const SocketFile& file) {
        if (found_[file.file] == Found::kFailed || !walk_.budget.spend()) return;
        GuestObject socket(walk_.memory, file.socket);
        const VirtualAddress back = socket.pointer(layout_.socket.file);
        const VirtualAddress sock = socket.pointer(layout_.socket.sk);
        if (!socket.ok() || sock != file.sock || (sock && back != file.address)) {
          found_[file.file] = Found::kFailed;
        } else if (!sameRows(file.file)) {
          found_[file.file] = Found::kUnsettled;
        }
      });
}

// Later than `sk`: as long as the struct socket still had its sock, the number was its own.
void Holdings::compareInodes() {
  const uint32_t inode = layout_.socket.inode.offset - layout_.socket.socket.offset;
  forEachAhead(
      walk_.memory, first_.socketFiles,
      [&](const SocketFile& file) { walk_.memory.prefetch(file.socket + inode); },
      [&](const SocketFile& file) {
        GuestObject alloc(walk_.memory, file.socket - layout_.socket.socket.offset);
        if (alloc.integer(layout_.socket.inode) != file.inode || !alloc.ok())
          found_[file.file] = Found::kFailed;
      });
}

bool Holdings::sameRows(uint32_t file) const {
  const auto same = [file](const auto& a, const std::vector<Rows>& rowsOfA, const auto& b,
                           const std::vector<Rows>& rowsOfB) {
    const Rows &first = rowsOfA[file], &second = rowsOfB[file];
    return first.count == second.count &&
           std::equal(a.begin() + first.first, a.begin() + first.first + first.count,
                      b.begin() + second.first);
  };
  return same(first_.held.sockets, first_.rows, second_.held.sockets, second_.rows) &&
         same(first_.held.others, first_.otherRows, second_.held.others, second_.otherRows);
}

bool Holdings::sameHeader(size_t table) {
  const FdTableHeader& before = tables_.headers[table];
  FdTableHeader now{.files = before.files};
  readFdTableHeader(walk_, now);
  return now == before;
}

void Holdings::judge(const std::vector<uint32_t>& rows) {
  const uint32_t most = rows.empty() ? 0 : *std::max_element(rows.begin(), rows.end()) + 1;
  processHolds_.assign(most, false);
  for (size_t i = 0; i < rows.size(); ++i) {
    Verdict& verdict = verdicts[i];
    if (verdict != Verdict::kGone && !idsSame_[i]) verdict = Verdict::kMoved;
    processHolds_[rows[i]] = verdict == Verdict::kSame || verdict == Verdict::kChanged;
    if (verdict == Verdict::kMoved) {
      for (const TableHolder& holder : processes_.tablesOf(rows[i])) again.addTable(holder);
    }
    if (verdict == Verdict::kMoved || verdict == Verdict::kChanged) changedRows.push_back(rows[i]);
  }
}

// The tables with those holders and descriptors that stand; the others are noted.
FdTables Holdings::standing(bool last) {
  FdTables standing;
  for (size_t i = 0; i < tables_.tables.size(); ++i) {
    const FdTables::Table& table = tables_.tables[i];
    std::vector<TableHolder> holders;
    for (size_t h = table.firstHolder; h < table.lastHolder; ++h) {
      if (processHolds_[tables_.holders[h].process]) holders.push_back(tables_.holders[h]);
    }
    if (holders.empty()) continue;
    if (!headerSame_[i]) {
      for (const TableHolder& holder : holders) again.addTable(holder);
      ++failures;
      continue;
    }
    FdTables::Table kept{.firstHolder = standing.holders.size(),
                         .firstDescriptor = standing.descriptors.size()};
    standing.holders.insert(standing.holders.end(), holders.begin(), holders.end());
    bool anyFailed = false;
    for (size_t d = table.firstDescriptor; d < table.lastDescriptor; ++d) {
      const Descriptor& descriptor = tables_.descriptors[d];
      const Found found = found_[descriptor.file];
      if (found == Found::kNoSocket || slots_[d] == SlotNow::kClosed) continue;
      const bool stands = found == Found::kTrue || (found == Found::kUnsettled && last);
      if (stands && slots_[d] == SlotNow::kSame) {
        if (found == Found::kUnsettled) ++unsettled;
        standing.descriptors.push_back(descriptor);
        continue;
      }
      again.slots.push_back({tables_.headers[i].files, descriptor.fd});
      ++failures;
      anyFailed = true;
    }
    if (anyFailed) again.holders.insert(again.holders.end(), holders.begin(), holders.end());
    kept.lastHolder = standing.holders.size();
    kept.lastDescriptor = standing.descriptors.size();
    standing.tables.push_back(kept);
  }
  standing.files = std::move(tables_.files);
  return standing;
}

void Holdings::take(const FdTables& tables) {
  // The second reading is the one that lies between both looks at what led to it.
  held = std::move(second_.held);
  held.rings = std::move(first_.held.rings);
  held.owners = ownersOf(walk_, tables, second_.rows, held.sockets.size());
  held.otherOwners = ownersOf(walk_, tables, second_.otherRows, held.others.size());
}

}  // namespace xfilter
