#pragma once

#include <optional>
#include <span>

#include "walk/unheld_files.h"

namespace xfilter {

/// Says why no process holds a socket that one of the kernel's tables has.
class Unowned {
 public:
  Unowned(WalkContext& walk, std::span<const VirtualAddress> namespaces,
          std::span<const VirtualAddress> rings)
      : walk_(walk), namespaces_(namespaces), rings_(rings) {}

  /// `sock` is a full one that no descriptor leads to; `isTcp`: it may be a subflow of an MPTCP socket.
  UnownedReason reasonOf(VirtualAddress sock, bool isTcp);

 private:
  VirtualAddress holderOf(VirtualAddress sock);

  WalkContext& walk_;
  std::span<const VirtualAddress> namespaces_, rings_;
  std::optional<UnheldFiles> files_;  // searched for only when a file is left over
};

}  // namespace xfilter
