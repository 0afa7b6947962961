#include "walk/program.h"

#include <algorithm>
#include <numeric>

namespace xfilter {
namespace {

constexpr size_t kMaxPath = 4096;  // PATH_MAX
constexpr size_t kMaxName = 255;   // NAME_MAX
constexpr uint64_t kMaxArgs = 128 << 10;
constexpr size_t kMaxTitle = 4096;                         // as much as /proc/PID/cmdline shows of one
constexpr VirtualAddress kUserEnd{0x00ff'ffff'ffff'f000};  // with 5-level page tables; less with 4

/// A place in the tree of mounts: struct path.
struct Place {
  VirtualAddress mount;  // struct vfsmount
  VirtualAddress dentry;
};

class PathReader {
 public:
  explicit PathReader(WalkContext& walk) : walk_(walk), member_(*walk.layout().program) {}

  // As d_path() does it: from the dentry up to the root of its mount, on at the mount's mount point, until
  // the mount that is its own parent.
  std::optional<std::string> read(Place at) {
    std::string path;
    const bool deleted = isUnhashed(at.dentry);
    // A mount that leads to itself makes no path, so steps are counted, too.
    for (size_t step = 0; step < kMaxPath && path.size() < kMaxPath && walk_.budget.spend(); ++step) {
      const auto root = walk_.memory.readPointer(at.mount + member_.mnt_root.offset);
      if (!root) return bad();
      if (at.dentry == *root) {
        GuestObject mount(walk_.memory, at.mount - member_.mnt.offset);
        const VirtualAddress parent = mount.pointer(member_.mnt_parent);
        if (!mount.ok()) return bad();
        if (parent == mount.address()) return (path.empty() ? "/" : path) + (deleted ? " (deleted)" : "");
        at = {parent + member_.mnt.offset, mount.pointer(member_.mnt_mountpoint)};
        continue;
      }
      GuestObject dentry(walk_.memory, at.dentry);
      const VirtualAddress parent = dentry.pointer(member_.d_parent);
      const auto name = walk_.readString(dentry.pointer(member_.d_name), kMaxName);
      if (!dentry.ok() || !name) return bad();
      // In no tree: a memfd, whose name the kernel shows so, too (simple_dname()).
      if (parent == at.dentry) return (path.empty() ? "/" + *name : path) + (deleted ? " (deleted)" : "");
      path.insert(0, "/" + *name);
      at.dentry = parent;
    }
    ++walk_.quality.limited;
    return std::nullopt;
  }

 private:
  bool isUnhashed(VirtualAddress dentry) {
    const auto pprev = walk_.memory.readPointer(dentry + member_.d_unhashed.offset);
    return pprev && !*pprev;
  }
  std::optional<std::string> bad() {
    ++walk_.quality.badPointers;
    return std::nullopt;
  }

  WalkContext& walk_;
  const Layout::Program& member_;
};

/// The string at `start`, which may go on behind the arguments, in the environment.
std::string readTitle(KernelMemory& user, VirtualAddress start) {
  std::string title;
  while (title.size() < kMaxTitle) {
    const auto bytes = user.view(start + title.size());
    if (bytes.empty()) break;
    title.append(reinterpret_cast<const char*>(bytes.data()),
                 std::min(bytes.size(), kMaxTitle - title.size()));
  }
  return title.substr(0, title.find('\0')) + '\0';
}

std::optional<std::string> readArgs(WalkContext& walk, VirtualAddress pgd, VirtualAddress start,
                                    uint64_t size) {
  const uint64_t kept = std::min(size, kMaxArgs);
  if (kept < size) ++walk.quality.limited;
  const auto& kernel = walk.memory.space();
  const auto table = kernel.translate(pgd);
  if (!table) return std::nullopt;
  KernelMemory user(AddressSpace(kernel.memory(), table->physical, kernel.levels()));
  std::string args(kept, '\0');
  if (!user.read(start, args.data(), args.size())) return std::nullopt;
  // An argument never is a page of nothing: what reads so was left out of the image.
  const auto page = user.view({start.value & ~(kPageSize - 1)});
  const bool blank = std::all_of(page.begin(), page.begin() + static_cast<ptrdiff_t>(kPageSize),
                                 [](std::byte b) { return b == std::byte{0}; });
  if (blank) return std::nullopt;
  // Where their end is written over, all of it is one title (setproctitle()).
  if (kept == size && args.back() != '\0') args = readTitle(user, start);
  // Forked processes have their arguments in the same pages: they could be many times the guest's memory.
  if (args.size() > walk.argsLeft) {
    ++walk.quality.limited;
    return std::nullopt;
  }
  walk.argsLeft -= args.size();
  return args;
}

ProcessDetails detailsOf(WalkContext& walk, VirtualAddress task) {
  ProcessDetails details;
  const auto& member = walk.layout().program;
  if (!member) return details;
  const auto mmAddress = walk.memory.readPointer(task + member->mm.offset);
  if (!mmAddress || !*mmAddress) return details;  // a kernel thread, or exited
  GuestObject mm(walk.memory, *mmAddress);
  const VirtualAddress start = mm.pointer(member->arg_start);
  const VirtualAddress end = mm.pointer(member->arg_end);
  const VirtualAddress file = mm.pointer(member->exe_file);
  const VirtualAddress pgd = mm.pointer(member->pgd);
  if (!mm.ok()) {
    ++walk.quality.badPointers;
    return details;
  }
  if (file) {
    GuestObject exe(walk.memory, file);
    const Place place{exe.pointer(member->path_mnt), exe.pointer(member->path_dentry)};
    if (exe.ok()) {
      details.exe = PathReader(walk).read(place);
    } else {
      ++walk.quality.badPointers;
    }
  }
  if (start < end && end < kUserEnd) {
    details.args = readArgs(walk, pgd, start, end.value - start.value);
    details.argsAbsent = !details.args;
  } else {
    details.args = "";
  }
  return details;
}

bool isSameProcess(WalkContext& walk, const Process& process) {
  const auto& member = walk.layout().task_struct;
  GuestObject task(walk.memory, process.task);
  const bool same = task.integer32(member.tgid) == process.pid &&
                    (!member.startTime || task.integer(*member.startTime) == process.startTime);
  return task.ok() && same;
}

}  // namespace

std::vector<ProcessDetails> readDetails(WalkContext& walk, const std::vector<Process>& processes) {
  constexpr int kRounds = 4;
  const Quality before = walk.quality;
  std::vector<ProcessDetails> details;
  details.reserve(processes.size());
  for (const Process& process : processes) details.push_back(detailsOf(walk, process.task));
  if (!walk.live()) return details;

  std::vector<size_t> open(processes.size());
  std::iota(open.begin(), open.end(), size_t{0});
  for (int round = 0; round < kRounds && !open.empty(); ++round) {
    walk.quality.forgive(before);
    walk.renew(Pass::kOther);
    std::erase_if(open, [&](size_t i) {
      if (details[i].args) walk.argsLeft += details[i].args->size();
      ProcessDetails now = detailsOf(walk, processes[i].task);
      orderReads();
      const bool same = now == details[i] && isSameProcess(walk, processes[i]);
      details[i] = std::move(now);
      return same;
    });
    walk.quality.retries += static_cast<uint32_t>(open.size());
  }
  walk.quality.abandoned += static_cast<uint32_t>(open.size());
  for (const size_t i : open) details[i] = {};
  return details;
}

}  // namespace xfilter
