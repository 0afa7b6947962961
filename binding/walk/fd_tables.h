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

/// The fd tables in use, each once, however many processes share it.
struct FdTables {
  struct Table {
    size_t firstHolder = 0, lastHolder = 0;          // of `holders`: rows of processes
    size_t firstDescriptor = 0, lastDescriptor = 0;  // of `descriptors`
  };
  std::vector<Table> tables;
  std::vector<uint32_t> holders;
  std::vector<Descriptor> descriptors;
  /// The different open files, by their struct file.
  std::vector<VirtualAddress> files;
};

FdTables readFdTables(WalkContext& walk, std::span<const TableHolder> holders);

}  // namespace xfilter
