#pragma once

#include <vector>

#include "walk/fd_tables.h"
#include "walk/socket.h"

namespace xfilter {

/// The rows that a file makes: one, or one a subflow for MPTCP, or none.
struct Rows {
  uint32_t first = 0;
  uint32_t count = 0;
};

/// Who holds which row: each descriptor of each table for each process that uses the table, given the rows
/// that each of `tables.files` makes. In the order of their rows, then of processes, then of descriptors;
/// each once.
std::vector<Owner> ownersOf(WalkContext& walk, const FdTables& tables, const std::vector<Rows>& rowsOfFile,
                            size_t rows);

}  // namespace xfilter
