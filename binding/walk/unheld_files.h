#pragma once

#include <span>

#include "walk/context.h"
#include "walk/socket.h"

namespace xfilter {

/// Files that are open without a descriptor: inside the messages of UNIX sockets (SCM_RIGHTS), and registered
/// with an io_uring instance.
class UnheldFiles {
 public:
  /// `rings` are the files of io_uring instances.
  UnheldFiles(WalkContext& walk, std::span<const VirtualAddress> namespaces,
              std::span<const VirtualAddress> rings);

  /// kInFlight or kIoUring if the file is one of them, else kUnknown.
  UnownedReason reasonOf(VirtualAddress file);

 private:
  void searchUnixSockets(std::span<const VirtualAddress> namespaces);
  void searchQueue(VirtualAddress sock);
  void searchMessage(VirtualAddress skb);
  void searchRing(VirtualAddress file);
  void add(VirtualAddress file, UnownedReason reason);

  WalkContext& walk_;
  AddressIndex reasons_;
};

}  // namespace xfilter
