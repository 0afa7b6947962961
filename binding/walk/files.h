#pragma once

#include <vector>

#include "walk/owners.h"
#include "walk/socket.h"
#include "walk/tasks.h"

namespace xfilter {

struct HeldSockets {
  std::vector<Socket> sockets;
  /// In the order of their sockets, then of processes, then of descriptors; each once.
  std::vector<Owner> owners;
  /// Struct sock → row of `sockets`.
  AddressIndex rows;
  std::vector<OtherSocket> others;
  std::vector<Owner> otherOwners;
  /// Files of io_uring instances.
  std::vector<VirtualAddress> rings;
};

/// A file that is a socket, on the way to its sock; `file` is its index in FdTables::files.
struct SocketFile {
  uint32_t file = 0;
  VirtualAddress address{}, socket{}, sock{};
  uint64_t inode = 0;  // only in a guest that runs
};

/// Follows open files to sockets and these to socks. Level by level: all files, then all sockets, so that the
/// memory for the next ones is asked for while one is read.
class FileWalk {
 public:
  explicit FileWalk(WalkContext& walk);

  /// Finds the sockets among the files.
  void find(const std::vector<VirtualAddress>& files);
  /// Reads the inode numbers of `socketFiles`,
  void readInodes();
  /// which socks they have,
  void readSockets();
  /// and the rows that these make.
  void readSocks();

  std::vector<SocketFile> socketFiles;
  /// Files that may be sockets, but could not be followed.
  std::vector<uint32_t> failed;
  std::vector<Rows> rows, otherRows;  // of each file
  /// Without owners.
  HeldSockets held;

 private:
  void addSock(VirtualAddress sock, bool isSubflow);

  WalkContext& walk_;
  const Layout& layout_;
  size_t maxSockets_;
};

/// Walks each fd table once, follows its open files to sockets, and says who holds which.
HeldSockets walkFiles(WalkContext& walk, const std::vector<TableHolder>& tables);

}  // namespace xfilter
