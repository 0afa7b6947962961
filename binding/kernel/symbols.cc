#include "kernel/symbols.h"

#include <array>

#include "kernel/kallsyms.h"
#include "kernel/kallsyms_scan.h"

namespace xfilter {
namespace {

constexpr char kSupply[] =
    "The kernel must be built with CONFIG_KALLSYMS and CONFIG_KALLSYMS_ALL, as distributions' kernels are.";

std::optional<KallsymsTables> namedTables(const Vmcoreinfo& info) {
  const auto numSyms = info.symbol("kallsyms_num_syms");
  const auto names = info.symbol("kallsyms_names");
  const auto tokenTable = info.symbol("kallsyms_token_table");
  const auto tokenIndex = info.symbol("kallsyms_token_index");
  if (!numSyms || !names || !tokenTable || !tokenIndex) return std::nullopt;
  return KallsymsTables{*numSyms,
                        *names,
                        *tokenTable,
                        *tokenIndex,
                        info.symbol("kallsyms_offsets"),
                        info.symbol("kallsyms_relative_base"),
                        info.symbol("kallsyms_addresses")};
}

struct Found {
  Kallsyms table;
  std::string how;
};

Result<Found> findTable(KernelMemory& memory, const Vmcoreinfo& info, const KnownSymbol& known) {
  if (const auto named = namedTables(info)) {
    if (auto table = Kallsyms::load(memory, *named, known)) {
      return Found{std::move(*table), "tables named by VMCOREINFO"};
    }
  }
  for (const auto& candidate : scanForKallsyms(memory, known.address, kKernelImageBase + kKernelImageSize)) {
    if (auto table = Kallsyms::load(memory, candidate, known)) {
      return Found{std::move(*table), "tables found by a scan of the kernel's image"};
    }
  }
  return failure("SYMBOLS_NOT_FOUND", "The kernel's symbol table (kallsyms) was not found in its image.",
                 kSupply);
}

}  // namespace

Result<Symbols> findSymbols(KernelMemory& memory, const Vmcoreinfo& info) {
  const KnownSymbol known{"_stext", *info.symbol("_stext")};
  const auto found = findTable(memory, info, known);
  if (!found) return tl::unexpected(found.error());

  enum {
    kInitTask,
    kSocketFileOps,
    kLinuxBanner,
    kStartBtf,
    kStopBtf,
    kStartNotes,
    kStopNotes,
    kTimekeeperData,
    kTkCore,
    kShadowTimekeeper,
    kCount
  };
  constexpr std::array<std::string_view, kCount> kNames = {
      "init_task",     "socket_file_ops", "linux_banner",    "__start_BTF", "__stop_BTF",
      "__start_notes", "__stop_notes",    "timekeeper_data", "tk_core",     "shadow_timekeeper"};
  const auto addresses = found->table.find(kNames);
  for (const auto needed : {kInitTask, kSocketFileOps}) {
    if (addresses[needed]) continue;
    return failure("SYMBOLS_NOT_FOUND",
                   "The kernel's symbol table has no " + std::string(kNames[needed]) + ".", kSupply);
  }
  return Symbols{
      .initTask = *addresses[kInitTask],
      .socketFileOps = *addresses[kSocketFileOps],
      .linuxBanner = addresses[kLinuxBanner],
      .startBtf = addresses[kStartBtf],
      .stopBtf = addresses[kStopBtf],
      .startNotes = addresses[kStartNotes],
      .stopNotes = addresses[kStopNotes],
      .timekeeperData = addresses[kTimekeeperData],
      .tkCore = addresses[kTkCore],
      .shadowTimekeeper = addresses[kShadowTimekeeper],
      .how = found->how,
      .found = std::to_string(found->table.size()) + " symbols, " + std::string(found->table.encoding()),
  };
}

}  // namespace xfilter
