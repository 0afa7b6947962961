#pragma once

#include <cstdint>

namespace xfilter {

/// How good the reading was. All zero but the sizes: every row is what the guest's kernel had.
struct Quality {
  uint64_t elapsedNs = 0;
  // What was walked.
  uint32_t processes = 0;
  uint32_t threads = 0;
  uint32_t fdTables = 0;
  uint32_t files = 0;
  uint32_t sockets = 0;
  // What went wrong.
  uint32_t retries = 0;      // reads done again because something moved; none on an image
  uint32_t torn = 0;         // links or back pointers that disagreed
  uint32_t abandoned = 0;    // objects left out for it
  uint32_t badPointers = 0;  // objects left out because their memory is not there
  uint32_t limited = 0;      // values beyond a bound of ours: what lies behind was left out

  /// Takes back what went wrong since `before`: of a guest that runs, because it will be read again.
  void forgive(const Quality& before) {
    torn = before.torn;
    abandoned = before.abandoned;
    badPointers = before.badPointers;
  }
};

}  // namespace xfilter
