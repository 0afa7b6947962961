#include "floor_layout.h"

#include <cstdio>

#include "walk/context.h"
#include "walk/files.h"

namespace xfilter {
namespace {

void define(const char* name, uint64_t value) {
  std::printf("#define %s 0x%llxull\n", name, static_cast<unsigned long long>(value));
}

/// What following the pointers must count.
struct FdSide {
  uint64_t processes = 0;
  uint64_t owners = 0;
  uint64_t ports = 0;
};

/// By the core's own walk: of each process the table of its main thread.
FdSide countFdSide(const Kernel& kernel) {
  WalkContext context{kernel, KernelMemory(kernel.space), Budget({}, std::chrono::minutes(1))};
  const Tasks tasks = walkTasks(context);
  std::vector<TableHolder> tables;
  for (uint32_t row = 0; row < tasks.processes.size(); ++row) {
    GuestObject task(context.memory, tasks.processes[row].task);
    const VirtualAddress files = task.pointer(kernel.layout.task_struct.files);
    if (files) tables.push_back({files, row});
  }
  const HeldSockets held = walkFiles(context, tables);
  FdSide counted{.processes = tasks.processes.size()};
  for (const Owner& owner : held.owners) {
    const Socket& socket = held.sockets[owner.socket];
    if (socket.mptcp) continue;
    ++counted.owners;
    if (socket.protocol != Protocol::kRaw) counted.ports += socket.localPort + 3ull * socket.remotePort;
  }
  return counted;
}

}  // namespace

Result<void> printFloorLayout(const PhysicalMemory& memory, const Kernel& kernel) {
  const Layout& layout = kernel.layout;
  // The floor takes a physical address for the place in the file.
  if (memory.format() != "raw" || memory.ranges().size() != 1 || memory.ranges().front().start.value != 0) {
    return failure("SOURCE_FORMAT", "The floor is measured on raw images of RAM in one piece only.", "");
  }
  if (layout.sock.type.bits != 0 || layout.sock.protocol.bits != 0) {
    return failure("LAYOUT_INCOMPLETE", "The floor reads no bit-fields, as sk_type is one before 5.6.", "");
  }
  const VirtualAddress initTask = *kernel.symbols.init_task;
  KernelMemory guest(kernel.space);
  const auto first =
      guest.readPointer(initTask + layout.task_struct.tasks.offset + layout.list_head.next.offset);
  const auto image = kernel.space.translate(initTask);
  const auto direct = first ? kernel.space.translate(*first) : std::nullopt;
  if (!image || !direct) return failure("WALK_FAILED", "The first task is not mapped.", "");

  define("INIT_TASK", initTask.value);
  define("KERNEL_IMAGE", initTask.value - image->physical.value);
  define("DIRECT_MAP", first->value - direct->physical.value);
  define("SOCKET_FILE_OPS", kernel.symbols.socket_file_ops->value);
  define("TASK_TASKS", layout.task_struct.tasks.offset);
  define("TASK_FILES", layout.task_struct.files.offset);
  define("FILES_FDT", layout.files_struct.fdt.offset);
  define("FDTABLE_MAX_FDS", layout.fdtable.max_fds.offset);
  define("FDTABLE_FD", layout.fdtable.fd.offset);
  define("FDTABLE_OPEN_FDS", layout.fdtable.open_fds.offset);
  define("FILE_F_OP", layout.file.f_op.offset);
  define("FILE_PRIVATE_DATA", layout.file.private_data.offset);
  define("SOCKET_SK", layout.socket.sk.offset);
  define("SOCK_FAMILY", layout.sock.family.offset);
  define("SOCK_TYPE", layout.sock.type.offset);
  define("SOCK_PROTOCOL", layout.sock.protocol.offset);
  define("SOCK_PROTOCOL_SIZE", layout.sock.protocol.size);
  define("SOCK_DADDR", layout.sock.daddr.offset);
  define("SOCK_RCV_SADDR", layout.sock.rcv_saddr.offset);
  define("INET_SPORT", layout.inet_sock.sport.offset);
  define("INET_DPORT", layout.inet_sock.dport.offset);
  const FdSide expected = countFdSide(kernel);
  define("EXPECTED_PROCESSES", expected.processes);
  define("EXPECTED_OWNERS", expected.owners);
  define("EXPECTED_PORTS", expected.ports);
  return {};
}

void printExpected(const Kernel& kernel) {
  const auto [processes, owners, ports] = countFdSide(kernel);
  std::printf("{\"processes\":%llu,\"owners\":%llu,\"ports\":%llu}\n",
              static_cast<unsigned long long>(processes), static_cast<unsigned long long>(owners),
              static_cast<unsigned long long>(ports));
}

}  // namespace xfilter
