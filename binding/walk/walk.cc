#include "walk/walk.h"

#include "walk/context.h"
#include "walk/files.h"
#include "walk/program.h"
#include "walk/tasks.h"
#include "walk/unheld_sockets.h"

namespace xfilter {

Result<WalkResult> walk(const Kernel& kernel, const WalkOptions& options, const std::stop_token& stop) {
  const auto start = std::chrono::steady_clock::now();
  const std::unique_ptr<PhysicalMemory> epoch = kernel.space.memory().epoch();
  const AddressSpace space = epoch ? kernel.space.over(*epoch) : kernel.space;
  WalkContext context{kernel, KernelMemory(space), Budget(stop, options.budget)};

  Tasks tasks = walkTasks(context);
  HeldSockets held = walkFiles(context, tasks.tables);
  held.rings.insert(held.rings.end(), tasks.rings.begin(), tasks.rings.end());
  addUnheldSockets(context, held);
  context.quality.sockets = static_cast<uint32_t>(held.sockets.size());

  std::vector<ProcessDetails> details;
  if (options.details) {
    details.reserve(tasks.processes.size());
    for (const Process& process : tasks.processes) details.push_back(readDetails(context, process.task));
  }

  if (context.budget.aborted()) return failure("ABORTED", "The walk was aborted.", "");
  if (context.budget.exhausted()) {
    return failure("WALK_BUDGET", "The walk did not end in the time that it was given.",
                   "Give it more (walkBudgetMs); a guest whose lists do not end may be lying.");
  }
  if (epoch) {
    if (const auto intact = epoch->intact(); !intact) return tl::unexpected(intact.error());
  }
  const auto elapsed = std::chrono::steady_clock::now() - start;
  context.quality.elapsedNs =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
  return WalkResult{
      .processes = std::move(tasks.processes),
      .details = std::move(details),
      .cgroups = std::move(tasks.cgroups),
      .discrepancies = std::move(tasks.discrepancies),
      .sockets = std::move(held.sockets),
      .owners = std::move(held.owners),
      .others = std::move(held.others),
      .otherOwners = std::move(held.otherOwners),
      .quality = context.quality,
  };
}

}  // namespace xfilter
