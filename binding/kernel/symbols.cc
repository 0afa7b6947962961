#include "kernel/symbols.h"

#include <algorithm>
#include <array>

#include "kernel/given.h"
#include "kernel/kallsyms.h"
#include "kernel/kallsyms_scan.h"

namespace xfilter {
namespace {

constexpr std::string_view kStext = "_stext";

struct Entry {
  std::string_view name;
  Symbols::Address Symbols::*address;
};
constexpr size_t kNeeded = 2;  // the first ones
constexpr std::array kEntries = {
    Entry{"init_task", &Symbols::init_task},
    Entry{"socket_file_ops", &Symbols::socket_file_ops},
    Entry{"linux_banner", &Symbols::linux_banner},
    Entry{"__start_BTF", &Symbols::start_btf},
    Entry{"__stop_BTF", &Symbols::stop_btf},
    Entry{"__start_notes", &Symbols::start_notes},
    Entry{"__stop_notes", &Symbols::stop_notes},
    Entry{"timekeeper_data", &Symbols::timekeeper_data},
    Entry{"tk_core", &Symbols::tk_core},
    Entry{"shadow_timekeeper", &Symbols::shadow_timekeeper},
    Entry{"net_namespace_list", &Symbols::net_namespace_list},
    Entry{"init_net", &Symbols::init_net},
    Entry{"tcp_hashinfo", &Symbols::tcp_hashinfo},
    Entry{"udp_table", &Symbols::udp_table},
    Entry{"udplite_table", &Symbols::udplite_table},
    Entry{"raw_v4_hashinfo", &Symbols::raw_v4_hashinfo},
    Entry{"raw_v6_hashinfo", &Symbols::raw_v6_hashinfo},
    Entry{"ping_table", &Symbols::ping_table},
    Entry{"unix_socket_table", &Symbols::unix_socket_table},
    Entry{"io_uring_fops", &Symbols::io_uring_fops},
    Entry{"init_pid_ns", &Symbols::init_pid_ns},
    Entry{"init_top_pgt", &Symbols::init_top_pgt},
    Entry{"init_level4_pgt", &Symbols::init_level4_pgt},
    Entry{"current_task", &Symbols::current_task},
    Entry{"pcpu_hot", &Symbols::pcpu_hot},
    Entry{"__per_cpu_offset", &Symbols::per_cpu_offset},
    Entry{"nr_cpu_ids", &Symbols::nr_cpu_ids},
    Entry{"max_pfn", &Symbols::max_pfn},
};

std::optional<KallsymsTables> namedTables(const Vmcoreinfo& info) {
  const auto inImage = [&](std::string_view name) {
    const auto address = info.symbol(name);
    return address && isInKernelImage(*address) ? address : std::nullopt;
  };
  const auto numSyms = inImage("kallsyms_num_syms");
  const auto names = inImage("kallsyms_names");
  const auto tokenTable = inImage("kallsyms_token_table");
  const auto tokenIndex = inImage("kallsyms_token_index");
  if (!numSyms || !names || !tokenTable || !tokenIndex) return std::nullopt;
  return KallsymsTables{*numSyms,
                        *names,
                        *tokenTable,
                        *tokenIndex,
                        inImage("kallsyms_offsets"),
                        inImage("kallsyms_relative_base"),
                        inImage("kallsyms_addresses")};
}

struct Found {
  Kallsyms table;
  std::string how;
};

/// Copies the tables if they agree with one of the symbols that are known.
std::optional<Kallsyms> load(KernelMemory& memory, const KallsymsTables& tables, const KernelSpace& space,
                             Budget& budget) {
  for (const KnownSymbol& known : space.known) {
    if (!budget.spendLong()) break;
    if (auto table = Kallsyms::load(memory, tables, known)) return std::move(*table);
  }
  return std::nullopt;
}

Result<Found> findTable(KernelMemory& memory, const KernelSpace& space, Budget& budget) {
  if (const auto named = space.info ? namedTables(*space.info) : std::nullopt) {
    if (auto table = load(memory, *named, space, budget)) {
      return Found{std::move(*table), "tables named by VMCOREINFO"};
    }
  }
  for (const auto& candidate :
       scanForKallsyms(memory, space.imageStart, kKernelImageBase + kKernelImageSize, budget)) {
    if (auto table = load(memory, candidate, space, budget)) {
      return Found{std::move(*table), "tables found by a scan of the kernel's image"};
    }
  }
  return failure("SYMBOLS_NOT_FOUND", "The kernel's symbol table (kallsyms) was not found in its image.",
                 kSupplySymbols);
}

/// Fills the symbols in by their names' addresses, in the order of kEntries.
Result<FoundSymbols> fill(const std::vector<std::optional<VirtualAddress>>& addresses, std::string how,
                          std::string found) {
  FoundSymbols result{{}, std::move(how), std::move(found)};
  for (size_t i = 0; i < kEntries.size(); ++i) {
    if (!addresses[i] && i < kNeeded) {
      return failure("SYMBOLS_NOT_FOUND",
                     "There is no symbol " + std::string(kEntries[i].name) + " in the " + result.found + ".",
                     kSupplySymbols);
    }
    result.symbols.*kEntries[i].address = addresses[i];
  }
  return result;
}

/// By how much KASLR moved the image: it moves it by whole large pages, and the file's `_stext` to where the
/// image begins or where VMCOREINFO says.
std::optional<uint64_t> slideOf(const SymbolTable& table, const KernelSpace& space) {
  constexpr uint64_t kAlignment = 2 << 20;  // CONFIG_PHYSICAL_ALIGN
  for (const KnownSymbol& known : space.known) {
    const auto linked = table.find(known.name);
    const uint64_t slide = linked ? known.address.value - linked->value : 1;
    const auto stext = table.find(kStext);
    if (slide % kAlignment == 0 && stext && *stext + slide == space.imageStart) return slide;
  }
  return std::nullopt;
}

}  // namespace

Result<FoundSymbols> findSymbols(KernelMemory& memory, const KernelSpace& space, Budget& budget) {
  const auto found = findTable(memory, space, budget);
  if (!found) return tl::unexpected(found.error());

  std::array<std::string_view, kEntries.size()> names;
  std::transform(kEntries.begin(), kEntries.end(), names.begin(),
                 [](const Entry& entry) { return entry.name; });
  return fill(found->table.find(names), found->how,
              std::to_string(found->table.size()) + " symbols, " + std::string(found->table.encoding()));
}

Result<FoundSymbols> symbolsOfFile(const SymbolTable& table, const KernelSpace& space) {
  const auto slide = slideOf(table, space);
  if (!slide) {
    return failure("PROFILE_MISMATCH", "The symbols that were given do not lead to the guest's kernel.",
                   kSupplySymbols);
  }
  std::vector<std::optional<VirtualAddress>> addresses;
  for (const Entry& entry : kEntries) {
    auto address = table.find(entry.name);
    // Below the image lie offsets into the per-CPU areas, which KASLR does not move.
    if (address && *address >= kKernelImageBase) address = *address + *slide;
    addresses.push_back(address);
  }
  return fill(addresses, "a file from outside", std::to_string(table.size()) + " symbols");
}

SymbolTable linkedSymbols(const Symbols& symbols, const KernelSpace& space) {
  SymbolTable table;
  table.add(kStext, space.imageStart.value - space.kaslrOffset);
  for (const Entry& entry : kEntries) {
    if (const auto& address = symbols.*entry.address) {
      table.add(entry.name,
                *address >= kKernelImageBase ? address->value - space.kaslrOffset : address->value);
    }
  }
  return table;
}

std::vector<std::string_view> symbolNames() {
  std::vector<std::string_view> names{kStext};
  for (const Entry& entry : kEntries) names.push_back(entry.name);
  return names;
}

}  // namespace xfilter
