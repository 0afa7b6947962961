#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/kernel_space.h"
#include "kernel/symbol_table.h"

namespace xfilter {

/// The kernel's global variables that attaching and walking start from, by the kernel's names. What is empty,
/// this kernel does not have; the first two it must have.
struct Symbols {
  using Address = std::optional<VirtualAddress>;

  Address init_task;
  Address socket_file_ops;
  Address linux_banner;
  Address start_btf, stop_btf;      // __start_BTF, __stop_BTF
  Address start_notes, stop_notes;  // __start_notes, __stop_notes
  // The kernel's clock: whichever of the three the release has (kernel_clock.h).
  Address timekeeper_data, tk_core, shadow_timekeeper;
  // Where the kernel's own lists of sockets begin (walk/socket_tables.h).
  Address net_namespace_list, init_net, tcp_hashinfo, udp_table, udplite_table, raw_v4_hashinfo,
      raw_v6_hashinfo, ping_table;
  // Where files lie that no process holds (walk/unheld_files.h).
  Address unix_socket_table, io_uring_fops;
  Address init_pid_ns;
  // The kernel's own root page table: swapper_pg_dir to C, init_level4_pgt before 4.13.
  Address init_top_pgt, init_level4_pgt;
  // What a CPU runs (walk/vcpus.h), and where each CPU's memory is.
  Address current_task, pcpu_hot, per_cpu_offset, nr_cpu_ids;
  Address max_pfn;  // the page frame behind the last one of RAM
};

struct FoundSymbols {
  Symbols symbols;
  std::string how;    // where the table was
  std::string found;  // how many symbols, in which encoding
};

/// Reads the kernel's own symbol table. SYMBOLS_NOT_FOUND says what is missing, or that the budget was spent.
Result<FoundSymbols> findSymbols(KernelMemory& memory, const KernelSpace& space, Budget& budget);

/// The symbols of a file from outside, moved as KASLR moved the one that is known. SYMBOLS_NOT_FOUND says
/// what is missing; PROFILE_MISMATCH, that no such move leads to this kernel.
Result<FoundSymbols> symbolsOfFile(const SymbolTable& table, const KernelSpace& space);

/// The other way round: where the linker put them.
SymbolTable linkedSymbols(const Symbols& symbols, const KernelSpace& space);

/// Every name that is asked for, by which files are looked through.
std::vector<std::string_view> symbolNames();

}  // namespace xfilter
