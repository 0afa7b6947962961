#include "kernel/types_fit.h"

#include <array>
#include <string_view>

#include "kernel/guest_object.h"

namespace xfilter {

bool typesFit(KernelMemory& memory, const Layout& layout, VirtualAddress initTask) {
  const auto& task = layout.task_struct;
  const auto linksBack = [&](VirtualAddress node) {
    const auto next = memory.readPointer(node + layout.list_head.next.offset);
    const auto back = next ? memory.readPointer(*next + layout.list_head.prev.offset) : std::nullopt;
    return back == node;
  };
  GuestObject init(memory, initTask);
  std::array<char, 7> comm{};
  init.copy(task.comm.offset, comm.data(), comm.size());
  if (std::string_view(comm.data(), comm.size()) != "swapper" || init.integer(task.pid) != 0 ||
      init.integer(task.tgid) != 0 || init.pointer(task.real_parent) != initTask ||
      !linksBack(initTask + task.tasks.offset)) {
    return false;
  }
  GuestObject signal(memory, init.pointer(task.signal));
  if (signal.integer(layout.signal_struct.nr_threads) != 1 ||
      !linksBack(signal.address() + layout.signal_struct.thread_head.offset)) {
    return false;
  }
  GuestObject cred(memory, init.pointer(task.real_cred));
  for (const Field& id : {layout.cred.uid, layout.cred.gid, layout.cred.suid, layout.cred.sgid,
                          layout.cred.euid, layout.cred.egid, layout.cred.fsuid, layout.cred.fsgid}) {
    if (cred.integer(id) != 0) return false;
  }
  constexpr uint64_t kOpenDefault = 64;  // NR_OPEN_DEFAULT
  GuestObject files(memory, init.pointer(task.files));
  GuestObject table(memory, files.pointer(layout.files_struct.fdt));
  return table.integer(layout.fdtable.max_fds) == kOpenDefault && init.ok() && signal.ok() && cred.ok() &&
         files.ok() && table.ok();
}

}  // namespace xfilter
