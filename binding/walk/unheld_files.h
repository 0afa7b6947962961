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
  void searchTable(VirtualAddress table);
  void searchQueue(VirtualAddress sock);
  void searchMessage(VirtualAddress skb);
  void searchRing(VirtualAddress file);
  void add(VirtualAddress file, UnownedReason reason);
  bool take(size_t& left, uint64_t count = 1);

  WalkContext& walk_;
  AddressIndex reasons_;
  AddressIndex tables_;
  // How much more can be in earnest: sockets and messages that are come to, places for files, files in them.
  size_t objectsLeft_, slotsLeft_, filesLeft_;
  bool limited_ = false;  // something was left out
};

}  // namespace xfilter
