#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernel/kernel.h"

namespace xfilter {

/// What one virtual CPU ran when the image was taken.
struct VcpuTask {
  uint32_t index = 0;  // in the order of the image
  uint64_t rip = 0;
  bool userMode = false;

  /// What follows is there if the vCPU's registers lead to a task.
  VirtualAddress task{};
  uint32_t cpu = 0;  // the kernel's number of this CPU
  uint32_t pid = 0;  // of the process; 0: the CPU is idle
  uint32_t tid = 0;
  std::string comm{};
  /// How many processes there are around the task list from this task, and whether init_task is among its
  /// nodes. The list's links confirm each other, so it is the one that a walk from init_task sees.
  uint32_t processes = 0;
  bool listed = false;
};

/// The task of each vCPU: by the base of its GS register to its per-CPU memory, from there to its task.
/// REGISTERS_NOT_FOUND if the image tells no registers; WALK_BUDGET or ABORTED if it did not end.
Result<std::vector<VcpuTask>> readVcpus(const Kernel& kernel, std::span<const VcpuRegisters> vcpus,
                                        const std::stop_token& stop);

}  // namespace xfilter
