#include "kernel/boot.h"

#include <string>

#include "kernel/guest_object.h"
#include "kernel/kernel.h"

namespace xfilter {
namespace {

bool hasBanner(KernelMemory& memory, const Kernel& kernel) {
  const auto& address = kernel.symbols.linux_banner;
  if (!address || kernel.banner.empty()) return true;
  std::string now(kernel.banner.size(), '\0');
  return memory.read(*address, now.data(), now.size()) && now == kernel.banner;
}

}  // namespace

std::optional<Boot> readBoot(KernelMemory& memory, const Kernel& kernel) {
  constexpr uint32_t kInitPid = 1;
  const auto& member = kernel.layout.task_struct;
  const VirtualAddress head = *kernel.symbols.init_task + member.tasks.offset;
  // init_task's first child is never taken out of the list: a kernel without it panics.
  const auto first = memory.readPointer(head + kernel.layout.list_head.next.offset);
  if (!first) return std::nullopt;
  GuestObject task(memory, *first - member.tasks.offset);
  const uint32_t pid = task.integer32(member.tgid);
  const uint64_t startTime = member.startTime ? task.integer(*member.startTime) : 0;
  if (!task.ok() || pid != kInitPid) return std::nullopt;
  return Boot{task.address(), startTime};
}

bool isSameBoot(KernelMemory& memory, const Kernel& kernel) {
  if (!hasBanner(memory, kernel)) return false;
  if (!kernel.boot) return true;
  const auto now = readBoot(memory, kernel);
  if (!now) return false;
  // An exec by another thread of init gives it another task, with the old one's start time.
  return kernel.boot->startTime != 0 ? now->startTime == kernel.boot->startTime
                                     : now->init == kernel.boot->init;
}

}  // namespace xfilter
