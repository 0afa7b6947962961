#pragma once

#include <vector>

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

/// Walks each fd table once, follows its open files to sockets, and says who holds which. Level by level: all
/// tables, then all files, then all sockets, so that the memory for the next ones is asked for while one is
/// read.
HeldSockets walkFiles(WalkContext& walk, const std::vector<TableHolder>& tables);

}  // namespace xfilter
