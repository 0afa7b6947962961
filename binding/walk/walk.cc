#include "walk/walk.h"

#include "walk/context.h"
#include "walk/files.h"
#include "walk/live_walk.h"
#include "walk/program.h"
#include "walk/tasks.h"
#include "walk/unheld_sockets.h"

namespace xfilter {
namespace {

tl::unexpected<Error> guestChanged() {
  return failure("GUEST_CHANGED", "The kernel that was found in the guest is not the one that runs now.",
                 "Attach again: the guest was reset, or has booted another kernel.");
}

TasksAndSockets walkImage(WalkContext& context) {
  Tasks tasks = walkTasks(context);
  HeldSockets held = walkFiles(context, tasks.tables);
  return {std::move(tasks), std::move(held)};
}

}  // namespace

Result<WalkResult> walk(const Kernel& kernel, const WalkOptions& options, const std::stop_token& stop) {
  const auto start = std::chrono::steady_clock::now();
  WalkContext context{kernel, KernelMemory(kernel.space), Budget(stop, options.budget), options.paused};
  // Between two walks, a guest that is paused for them runs, too.
  const bool mayHaveChanged = kernel.space.memory().live();
  if (mayHaveChanged) {
    context.renew(options.paused ? Pass::kWhole : Pass::kBoot);
    if (!isSameBoot(context.memory, kernel)) return guestChanged();
  }

  auto [tasks, held] = context.live() ? walkLive(context) : walkImage(context);
  held.rings.insert(held.rings.end(), tasks.rings.begin(), tasks.rings.end());
  addUnheldSockets(context, held);
  context.quality.sockets = static_cast<uint32_t>(held.sockets.size());
  auto namespaces = readNetNamespaces(context);

  std::vector<ProcessDetails> details;
  if (options.details) details = readDetails(context, tasks.processes);

  if (context.budget.aborted()) return failure("ABORTED", "The walk was aborted.", "");
  if (context.budget.exhausted()) {
    return failure("WALK_BUDGET", "The walk did not end in the time that it was given.",
                   "Give it more (walkBudgetMs); a guest whose lists do not end may be lying.");
  }
  if (mayHaveChanged) {
    context.renew(Pass::kBootAgain);
    if (!context.intact) return tl::unexpected(context.intact.error());
    if (!isSameBoot(context.memory, kernel)) return guestChanged();
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
      .namespaces = std::move(namespaces),
      .quality = context.quality,
  };
}

}  // namespace xfilter
