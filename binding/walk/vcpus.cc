#include "walk/vcpus.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "walk/lists.h"

namespace xfilter {
namespace {

constexpr int kUserPrivilege = 3;
constexpr size_t kMaxComm = 64;
constexpr uint32_t kMaxCpus = 8192;  // NR_CPUS is no more
constexpr auto kTime = std::chrono::seconds(10);

class VcpuReader {
 public:
  VcpuReader(const Kernel& kernel, const std::stop_token& stop)
      : walk_{kernel, KernelMemory(kernel.space), Budget(stop, kTime)}, task_(kernel.layout.task_struct) {
    walk_.renew(Pass::kOther);
    readOffsets();
  }

  VcpuTask read(const VcpuRegisters& vcpu, uint32_t index) {
    VcpuTask result{.index = index, .rip = vcpu.rip, .userMode = vcpu.privilege == kUserPrivilege};
    const auto cpu = cpuOf(vcpu);
    if (!cpu) return result;
    const auto pointer = currentTask();
    const auto current = pointer ? walk_.memory.readPointer(*pointer + offsets_[*cpu]) : std::nullopt;
    if (current) readTask(*current, *cpu, result);
    return result;
  }

  const Budget& budget() const { return walk_.budget; }

 private:
  void readOffsets() {
    const Symbols& symbols = walk_.kernel.symbols;
    if (!symbols.per_cpu_offset || !symbols.nr_cpu_ids) return;
    const uint32_t cpus = walk_.memory.read<uint32_t>(*symbols.nr_cpu_ids).value_or(0);
    if (cpus > kMaxCpus) return;
    for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
      const auto offset = walk_.memory.read<uint64_t>(*symbols.per_cpu_offset + cpu * sizeof(uint64_t));
      offsets_.push_back(offset.value_or(0));
    }
  }

  // A pointer in each CPU's memory, as far from this address as that memory is: current_task, between 6.2
  // (e57ef2ed97c1) and 6.14 a member of pcpu_hot. Whether per-CPU addresses count from zero, as before 6.15,
  // or from the kernel's image makes no difference: GS's base takes account of it.
  std::optional<VirtualAddress> currentTask() const {
    const Symbols& symbols = walk_.kernel.symbols;
    const auto& inHot = walk_.layout().pcpu_hot.current_task;
    return symbols.pcpu_hot && inHot ? *symbols.pcpu_hot + inHot->offset : symbols.current_task;
  }

  // The kernel's GS base is the offset of the CPU's memory, which the kernel also keeps in a table. In user
  // mode it waits in the other register, and on the way in and out of the kernel for a moment too; and a
  // program may load its own GS with any address, a CPU's too. So the mode says which is looked at first, and
  // the table whether it is one.
  std::optional<uint32_t> cpuOf(const VcpuRegisters& vcpu) const {
    std::array<std::optional<uint64_t>, 2> bases = {vcpu.gsBase, vcpu.kernelGsBase};
    if (vcpu.privilege == kUserPrivilege) std::swap(bases[0], bases[1]);
    for (const auto& base : bases) {
      if (!base || *base >> 63 == 0) continue;
      const auto found = std::find(offsets_.begin(), offsets_.end(), *base);
      if (found != offsets_.end()) return static_cast<uint32_t>(found - offsets_.begin());
    }
    return std::nullopt;
  }

  void readTask(VirtualAddress address, uint32_t cpu, VcpuTask& result) {
    GuestObject task(walk_.memory, address);
    const uint32_t pid = task.integer32(task_.tgid);
    const uint32_t tid = task.integer32(task_.pid);
    std::array<char, kMaxComm> comm{};
    const size_t size = std::min<size_t>(task_.comm.size, comm.size());
    task.copy(task_.comm.offset, comm.data(), size);
    const VirtualAddress leader = leaderOf(address, task);
    if (!task.ok()) return;
    result.task = address;
    result.cpu = cpu;
    result.pid = pid;
    result.tid = tid;
    result.comm.assign(comm.data(), strnlen(comm.data(), size));
    if (leader) walkAround(leader, result);
  }

  // Of a thread, its process's; the idle tasks of all CPUs but the first are in no list, but the task that
  // made them is.
  VirtualAddress leaderOf(VirtualAddress address, GuestObject& task) {
    if (address == *walk_.kernel.symbols.init_task || !task_.group_leader) return address;
    if (task.integer32(task_.pid) != 0) return task.pointer(*task_.group_leader);
    GuestObject parent(walk_.memory, task.pointer(task_.real_parent));
    return parent.ok() ? parent.pointer(*task_.group_leader) : VirtualAddress{};
  }

  void walkAround(VirtualAddress leader, VcpuTask& result) {
    const VirtualAddress init = *walk_.kernel.symbols.init_task + task_.tasks.offset;
    const VirtualAddress head = leader + task_.tasks.offset;
    uint32_t nodes = 1;
    result.listed = head == init;
    forEachListNode(walk_, head, [&](VirtualAddress node) {
      ++nodes;
      if (node == init) result.listed = true;
    });
    // init_task is a node of the list but no process.
    result.processes = result.listed ? nodes - 1 : nodes;
  }

  WalkContext walk_;
  const decltype(Layout::task_struct)& task_;
  std::vector<uint64_t> offsets_;
};

}  // namespace

Result<std::vector<VcpuTask>> readVcpus(const Kernel& kernel, std::span<const VcpuRegisters> vcpus,
                                        const std::stop_token& stop) {
  if (vcpus.empty()) {
    return failure(
        "REGISTERS_NOT_FOUND", "This image does not tell the registers of the guest's CPUs.",
        "Only ELF cores carry them: take one with `dump-guest-memory`, `virsh dump --memory-only` or "
        "`xl dump-core`.");
  }
  VcpuReader reader(kernel, stop);
  std::vector<VcpuTask> tasks;
  for (const VcpuRegisters& vcpu : vcpus)
    tasks.push_back(reader.read(vcpu, static_cast<uint32_t>(tasks.size())));
  if (reader.budget().aborted()) return failure("ABORTED", "Reading the CPUs was aborted.", "");
  // A list that was walked in part does not tell who is hidden from it.
  if (reader.budget().exhausted()) {
    return failure(
        "WALK_BUDGET", "Reading the CPUs did not end within 10 s.",
        "Read them again when the image is in the page cache; a guest whose lists do not end may be "
        "lying.");
  }
  return tasks;
}

}  // namespace xfilter
