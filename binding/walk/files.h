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

/// Walks each fd table once, follows its open files to sockets, and says who holds which.
HeldSockets walkFiles(WalkContext& walk, std::vector<TableHolder> tables);

}  // namespace xfilter
