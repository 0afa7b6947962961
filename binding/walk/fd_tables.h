#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "walk/tasks.h"

namespace xfilter {

/// An open descriptor: its number, and the struct file behind it by its index in FdTables::files.
struct Descriptor {
  uint32_t fd = 0;
  uint32_t file = 0;
};

/// Where an fd table lies: files_struct → fdtable → `size` (max_fds) file pointers and as many bits.
struct FdTableHeader {
  VirtualAddress files{}, fdtable{}, slots{}, bits{};
  uint64_t size = 0;

  friend bool operator==(const FdTableHeader&, const FdTableHeader&) = default;
};

/// The fd tables in use, each once, however many processes share it.
struct FdTables {
  struct Table {
    size_t firstHolder = 0, lastHolder = 0;          // of `holders`
    size_t firstDescriptor = 0, lastDescriptor = 0;  // of `descriptors`
  };
  std::vector<Table> tables;
  std::vector<FdTableHeader> headers;  // of each
  std::vector<TableHolder> holders;
  std::vector<Descriptor> descriptors;
  /// The different open files, by their struct file.
  std::vector<VirtualAddress> files;
};

/// Reads the header of the table whose `files` is given; false, with `size` 0, where that is not in memory.
bool readFdTableHeader(WalkContext& walk, FdTableHeader& header);

FdTables readFdTables(WalkContext& walk, std::span<const TableHolder> holders);

}  // namespace xfilter
