#pragma once

#include <cstdint>
#include <vector>

#include "snapshot/snapshot.h"
#include "walk/walk.h"

namespace xfilter {

/// What changed from one walk to a later one.
///
/// `before` and `after` hold only the rows that are named here, and the processes that own their sockets: a
/// poll of a quiet guest is empty, however large the guest.
struct Difference {
  /// A row of `before` and what became of it, a row of `after`.
  struct Change {
    uint32_t before = 0;
    uint32_t after = 0;
  };
  struct Rows {
    std::vector<uint32_t> gone;     // of `before`
    std::vector<uint32_t> came;     // of `after`
    std::vector<Change> changed{};  // the same process or socket

    bool empty() const { return gone.empty() && came.empty() && changed.empty(); }
  };

  WalkResult before, after;
  Rows processes, sockets;

  bool empty() const { return processes.empty() && sockets.empty(); }
};

/// Compares two walks over one boot of a guest.
///
/// A process is the same by its task, pid and start time, and changed if its credentials, name, network
/// namespace or cgroup did. A socket is the same by its sock and inode, or, where it has lost its inode (an
/// orphan), by its addresses; it changed if anything did that its row says, or who holds it.
Difference compare(const WalkResult& before, const WalkResult& after);

/// A difference as it crosses to JavaScript: its rows as columns.
struct DifferenceColumns {
  Snapshot before, after;
  Difference::Rows processes, sockets;
};

DifferenceColumns makeColumns(Difference difference);

}  // namespace xfilter
