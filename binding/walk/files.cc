#include "walk/files.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <span>

#include "walk/sockets.h"

namespace xfilter {
namespace {

constexpr uint8_t kTcpClose = 7;

// In 6.1 an MPTCP socket has its first subflow from socket() on, before there is anything that it could be
// the flow of; 6.12 makes it at bind() or connect().
bool isUnused(const Socket& subflow) { return subflow.state == kTcpClose && subflow.localPort == 0; }

constexpr uint32_t kBitsPerWord = 64;
// sysctl_nr_open cannot be set higher (fs/file.c).
constexpr uint64_t kMaxDescriptors = uint64_t{1} << 31;

// Far above what guests have in earnest; tables that share one page of pointers could claim any number.
constexpr size_t kMaxOwners = 16 << 20;

/// The rows that a file makes: one, or one a subflow for MPTCP, or none; of flows and of other sockets.
struct Rows {
  uint32_t first = 0;
  uint32_t count = 0;
  std::optional<uint32_t> other;
};

class FileWalk {
 public:
  explicit FileWalk(WalkContext& walk)
      : walk_(walk), layout_(walk.layout()), maxSockets_(walk.roomFor(kMinSockSize)) {}

  HeldSockets take(std::vector<TableHolder> tables) {
    // Holders of one table side by side: it is walked once for all of them.
    std::sort(tables.begin(), tables.end(), [](const TableHolder& a, const TableHolder& b) {
      return a.files != b.files ? a.files < b.files : a.process < b.process;
    });
    for (auto first = tables.begin(); first != tables.end();) {
      const auto last =
          std::find_if(first, tables.end(), [&](const TableHolder& t) { return t.files != first->files; });
      if (!walk_.budget.spend()) break;
      walkTable(first->files, {first, last});
      first = last;
    }
    sortOwners(held_.owners);
    sortOwners(held_.otherOwners);
    return std::move(held_);
  }

 private:
  // struct fdtable: `fd` points to max_fds file pointers, `open_fds` to as many bits. A bit may be set with
  // no file behind it: a task inside accept() or open() has reserved it.
  void walkTable(VirtualAddress address, std::span<const TableHolder> holders) {
    GuestObject files(walk_.memory, address);
    GuestObject table(walk_.memory, files.pointer(layout_.files_struct.fdt));
    uint64_t descriptors = table.integer32(layout_.fdtable.max_fds);
    const VirtualAddress slots = table.pointer(layout_.fdtable.fd);
    const VirtualAddress bits = table.pointer(layout_.fdtable.open_fds);
    if (!files.ok() || !table.ok()) {
      ++walk_.quality.badPointers;
      return;
    }
    ++walk_.quality.fdTables;
    if (descriptors > kMaxDescriptors) {
      ++walk_.quality.limited;
      descriptors = kMaxDescriptors;
    }
    for (uint64_t first = 0; first < descriptors && walk_.budget.spend(); first += kBitsPerWord) {
      const auto word = walk_.memory.read<uint64_t>(bits + first / 8);
      if (!word) {
        ++walk_.quality.badPointers;
        return;
      }
      const uint64_t left = descriptors - first;
      const uint64_t open = left < kBitsPerWord ? *word & ((uint64_t{1} << left) - 1) : *word;
      if (open != 0) walkWord(slots + first * sizeof(uint64_t), static_cast<uint32_t>(first), open, holders);
    }
  }

  void walkWord(VirtualAddress slots, uint32_t firstFd, uint64_t open, std::span<const TableHolder> holders) {
    GuestObject pointers(walk_.memory, slots);
    for (; open != 0; open &= open - 1) {
      const auto bit = static_cast<uint32_t>(std::countr_zero(open));
      const VirtualAddress file{pointers.integer(bit * sizeof(uint64_t), sizeof(uint64_t))};
      if (!file) continue;
      ++walk_.quality.files;
      const Rows rows = rowsOf(file);
      for (uint32_t row = rows.first; row < rows.first + rows.count; ++row) {
        addOwners(held_.owners, row, firstFd + bit, holders);
      }
      if (rows.other) addOwners(held_.otherOwners, *rows.other, firstFd + bit, holders);
    }
    if (!pointers.ok()) ++walk_.quality.badPointers;
  }

  void addOwners(std::vector<Owner>& owners, uint32_t row, uint32_t fd,
                 std::span<const TableHolder> holders) {
    if (owners.size() + holders.size() > kMaxOwners) {
      ++walk_.quality.limited;
      return;
    }
    for (const TableHolder& holder : holders) owners.push_back({row, holder.process, fd});
  }

  Rows rowsOf(VirtualAddress address) {
    GuestObject file(walk_.memory, address);
    const VirtualAddress operations = file.pointer(layout_.file.f_op);
    if (!file.ok()) {
      ++walk_.quality.badPointers;
      return {};
    }
    const Symbols& symbols = walk_.kernel.symbols;
    const bool isRing = symbols.io_uring_fops && operations == *symbols.io_uring_fops;
    if (!isRing && operations != *symbols.socket_file_ops) return {};
    // Files that several tables hold, after a fork, are read once.
    const auto [index, isNew] = knownFiles_.insert(address, static_cast<uint32_t>(files_.size()));
    if (!isNew) return files_[*index];
    const Rows rows = isRing ? Rows{} : readSocketFile(address, file);
    if (isRing) held_.rings.push_back(address);
    files_.push_back(rows);
    return rows;
  }

  Rows readSocketFile(VirtualAddress address, GuestObject& file) {
    GuestObject socket(walk_.memory, file.pointer(layout_.file.private_data));
    const VirtualAddress back = socket.pointer(layout_.socket.file);
    const VirtualAddress sock = socket.pointer(layout_.socket.sk);
    if (!file.ok() || !socket.ok()) {
      ++walk_.quality.badPointers;
      return {};
    }
    if (!sock) return {};  // being closed
    if (back != address) {
      ++walk_.quality.torn;
      ++walk_.quality.abandoned;
      return {};
    }
    const auto first = static_cast<uint32_t>(held_.sockets.size());
    const auto other = addSock(sock, false);
    return {first, static_cast<uint32_t>(held_.sockets.size()) - first, other};
  }

  /// The row of the other socket that it is, if it is one.
  std::optional<uint32_t> addSock(VirtualAddress sock, bool isSubflow) {
    if (held_.sockets.size() + held_.others.size() >= maxSockets_) {
      ++walk_.quality.limited;
      return std::nullopt;
    }
    Socket socket;
    const auto kind = readSock(walk_, sock, socket);
    if (!kind) return std::nullopt;
    if (kind->flow && !(isSubflow && isUnused(socket))) {
      socket.mptcp = isSubflow;
      held_.rows.insert(sock, static_cast<uint32_t>(held_.sockets.size()));
      held_.sockets.push_back(socket);
    } else if (kind->mptcp && !isSubflow) {
      forEachSubflow(walk_, sock, [this](VirtualAddress subflow) { addSock(subflow, true); });
    }
    if (!kind->other) return std::nullopt;
    held_.others.push_back(readOtherSock(walk_, sock, *kind->other));
    return static_cast<uint32_t>(held_.others.size() - 1);
  }

  static void sortOwners(std::vector<Owner>& owners) {
    std::sort(owners.begin(), owners.end(), [](const Owner& a, const Owner& b) {
      if (a.socket != b.socket) return a.socket < b.socket;
      return a.process != b.process ? a.process < b.process : a.fd < b.fd;
    });
    // Threads with tables of their own may hold one socket under one number.
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
  }

  WalkContext& walk_;
  const Layout& layout_;
  size_t maxSockets_;
  HeldSockets held_;
  AddressIndex knownFiles_;  // struct file → index in files_
  std::vector<Rows> files_;
};

}  // namespace

HeldSockets walkFiles(WalkContext& walk, std::vector<TableHolder> tables) {
  return FileWalk(walk).take(std::move(tables));
}

}  // namespace xfilter
