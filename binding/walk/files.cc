#include "walk/files.h"

#include <optional>

#include "walk/ahead.h"
#include "walk/fd_tables.h"
#include "walk/owners.h"
#include "walk/sockets.h"

namespace xfilter {
namespace {

constexpr uint8_t kTcpClose = 7;

// In 6.1 an MPTCP socket has its first subflow from socket() on, before there is anything that it could be
// the flow of; 6.12 makes it at bind() or connect().
bool isUnused(const Socket& subflow) { return subflow.state == kTcpClose && subflow.localPort == 0; }

/// A file that is a socket, on the way to its sock; `file` is its index in FdTables::files.
struct SocketFile {
  uint32_t file = 0;
  VirtualAddress address{}, socket{}, sock{};
};

class FileWalk {
 public:
  explicit FileWalk(WalkContext& walk)
      : walk_(walk), layout_(walk.layout()), maxSockets_(walk.roomFor(kMinSockSize)) {}

  HeldSockets take(const std::vector<TableHolder>& holders) {
    const FdTables tables = readFdTables(walk_, holders);
    rows_.resize(tables.files.size());
    otherRows_.resize(tables.files.size());
    findSocketFiles(tables.files);
    readSockets();
    readSocks();
    held_.owners = ownersOf(walk_, tables, rows_, held_.sockets.size());
    held_.otherOwners = ownersOf(walk_, tables, otherRows_, held_.others.size());
    return std::move(held_);
  }

 private:
  void findSocketFiles(const std::vector<VirtualAddress>& files) {
    const Symbols& symbols = walk_.kernel.symbols;
    Lines lines;
    lines.add(layout_.file.f_op);
    lines.add(layout_.file.private_data);
    uint32_t index = 0;
    forEachAhead(
        walk_.memory, files, [&](VirtualAddress address) { lines.prefetch(walk_.memory, address); },
        [&](VirtualAddress address) {
          const uint32_t file = index++;
          if (!walk_.budget.spend()) return;
          GuestObject object(walk_.memory, address);
          const VirtualAddress operations = object.pointer(layout_.file.f_op);
          const VirtualAddress data = object.pointer(layout_.file.private_data);
          if (!object.ok() || !operations) {
            ++walk_.quality.badPointers;
          } else if (operations == *symbols.socket_file_ops) {
            socketFiles_.push_back({.file = file, .address = address, .socket = data});
          } else if (symbols.io_uring_fops && operations == *symbols.io_uring_fops) {
            held_.rings.push_back(address);
          }
        });
  }

  void readSockets() {
    Lines lines;
    lines.add(layout_.socket.file);
    lines.add(layout_.socket.sk);
    forEachAhead(
        walk_.memory, socketFiles_,
        [&](const SocketFile& file) { lines.prefetch(walk_.memory, file.socket); },
        [&](SocketFile& file) {
          if (!walk_.budget.spend()) return;
          GuestObject socket(walk_.memory, file.socket);
          const VirtualAddress back = socket.pointer(layout_.socket.file);
          const VirtualAddress sock = socket.pointer(layout_.socket.sk);
          if (!socket.ok()) {
            ++walk_.quality.badPointers;
          } else if (sock && back != file.address) {
            ++walk_.quality.torn;
            ++walk_.quality.abandoned;
          } else {
            file.sock = sock;  // NULL while it is being closed
          }
        });
  }

  void readSocks() {
    const Lines lines = sockLines(layout_);
    const uint32_t inode = layout_.socket.inode.offset - layout_.socket.socket.offset;
    forEachAhead(
        walk_.memory, socketFiles_,
        [&](const SocketFile& file) {
          lines.prefetch(walk_.memory, file.sock);
          walk_.memory.prefetch(file.socket + inode);
        },
        [&](const SocketFile& file) {
          if (!file.sock || !walk_.budget.spend()) return;
          const auto first = static_cast<uint32_t>(held_.sockets.size());
          const auto firstOther = static_cast<uint32_t>(held_.others.size());
          addSock(file.sock, false);
          rows_[file.file] = {first, static_cast<uint32_t>(held_.sockets.size()) - first};
          otherRows_[file.file] = {firstOther, static_cast<uint32_t>(held_.others.size()) - firstOther};
        });
  }

  void addSock(VirtualAddress sock, bool isSubflow) {
    if (held_.sockets.size() + held_.others.size() >= maxSockets_) {
      ++walk_.quality.limited;
      return;
    }
    Socket socket;
    const auto kind = readSock(walk_, sock, socket);
    if (!kind) return;
    if (kind->flow && !(isSubflow && isUnused(socket))) {
      socket.mptcp = isSubflow;
      held_.rows.insert(sock, static_cast<uint32_t>(held_.sockets.size()));
      held_.sockets.push_back(socket);
    } else if (kind->mptcp && !isSubflow) {
      forEachSubflow(walk_, sock, [this](VirtualAddress subflow) { addSock(subflow, true); });
    }
    if (kind->other) held_.others.push_back(readOtherSock(walk_, sock, *kind->other));
  }

  WalkContext& walk_;
  const Layout& layout_;
  size_t maxSockets_;
  std::vector<SocketFile> socketFiles_;
  std::vector<Rows> rows_, otherRows_;  // of each file
  HeldSockets held_;
};

}  // namespace

HeldSockets walkFiles(WalkContext& walk, const std::vector<TableHolder>& tables) {
  return FileWalk(walk).take(tables);
}

}  // namespace xfilter
