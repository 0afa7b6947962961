#include "walk/files.h"

#include <algorithm>
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

}  // namespace

FileWalk::FileWalk(WalkContext& walk)
    : walk_(walk), layout_(walk.layout()), maxSockets_(walk.roomFor(kMinSockSize)) {}

void FileWalk::find(const std::vector<VirtualAddress>& files) {
  const Symbols& symbols = walk_.kernel.symbols;
  rows.resize(files.size());
  otherRows.resize(files.size());
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
          failed.push_back(file);
        } else if (operations == *symbols.socket_file_ops) {
          socketFiles.push_back({.file = file, .address = address, .socket = data});
        } else if (symbols.io_uring_fops && operations == *symbols.io_uring_fops) {
          held.rings.push_back(address);
        }
      });
}

void FileWalk::readInodes() {
  const uint32_t inode = layout_.socket.inode.offset - layout_.socket.socket.offset;
  forEachAhead(
      walk_.memory, socketFiles, [&](const SocketFile& file) { walk_.memory.prefetch(file.socket + inode); },
      [&](SocketFile& file) {
        GuestObject alloc(walk_.memory, file.socket - layout_.socket.socket.offset);
        file.inode = alloc.integer(layout_.socket.inode);
        if (alloc.ok()) return;
        ++walk_.quality.badPointers;
        failed.push_back(file.file);
      });
}

void FileWalk::readSockets() {
  Lines lines;
  lines.add(layout_.socket.file);
  lines.add(layout_.socket.sk);
  forEachAhead(
      walk_.memory, socketFiles, [&](const SocketFile& file) { lines.prefetch(walk_.memory, file.socket); },
      [&](SocketFile& file) {
        if (!walk_.budget.spend()) return;
        GuestObject socket(walk_.memory, file.socket);
        const VirtualAddress back = socket.pointer(layout_.socket.file);
        const VirtualAddress sock = socket.pointer(layout_.socket.sk);
        if (!socket.ok()) {
          ++walk_.quality.badPointers;
          failed.push_back(file.file);
        } else if (sock && back != file.address) {
          ++walk_.quality.torn;
          ++walk_.quality.abandoned;
          failed.push_back(file.file);
        } else {
          file.sock = sock;  // NULL while it is being closed
        }
      });
}

void FileWalk::readSocks() {
  const Lines lines = sockLines(layout_);
  const size_t likely = std::min(socketFiles.size(), maxSockets_);
  held.sockets.reserve(likely);
  held.rows.reserve(likely);
  const uint32_t inode = layout_.socket.inode.offset - layout_.socket.socket.offset;
  forEachAhead(
      walk_.memory, socketFiles,
      [&](const SocketFile& file) {
        lines.prefetch(walk_.memory, file.sock);
        walk_.memory.prefetch(file.socket + inode);
        held.rows.prefetch(file.sock);
      },
      [&](const SocketFile& file) {
        if (!file.sock || !walk_.budget.spend()) return;
        const auto first = static_cast<uint32_t>(held.sockets.size());
        const auto firstOther = static_cast<uint32_t>(held.others.size());
        addSock(file.sock, false);
        rows[file.file] = {first, static_cast<uint32_t>(held.sockets.size()) - first};
        otherRows[file.file] = {firstOther, static_cast<uint32_t>(held.others.size()) - firstOther};
      });
}

void FileWalk::addSock(VirtualAddress sock, bool isSubflow) {
  if (held.sockets.size() + held.others.size() >= maxSockets_) {
    ++walk_.quality.limited;
    return;
  }
  Socket socket;
  const auto kind = readSock(walk_, sock, socket);
  if (!kind) return;
  if (kind->flow && !(isSubflow && isUnused(socket))) {
    socket.mptcp = isSubflow;
    held.rows.insert(sock, static_cast<uint32_t>(held.sockets.size()));
    held.sockets.push_back(socket);
  } else if (kind->mptcp && !isSubflow) {
    forEachSubflow(walk_, sock, [this](VirtualAddress subflow) { addSock(subflow, true); });
  }
  if (kind->other) held.others.push_back(readOtherSock(walk_, sock, *kind->other));
}

HeldSockets walkFiles(WalkContext& walk, const std::vector<TableHolder>& holders) {
  const FdTables tables = readFdTables(walk, holders);
  FileWalk files(walk);
  files.find(tables.files);
  files.readSockets();
  files.readSocks();
  HeldSockets& held = files.held;
  held.owners = ownersOf(walk, tables, files.rows, held.sockets.size());
  held.otherOwners = ownersOf(walk, tables, files.otherRows, held.others.size());
  return std::move(held);
}

}  // namespace xfilter
