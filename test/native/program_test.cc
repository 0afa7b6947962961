#include "doctest/doctest.h"
#include "fake_kernel.h"
#include "walk/walk.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kObjects{0xffff'8882'0000'0000};
constexpr VirtualAddress kTables{0xffff'8882'4000'0000};
constexpr VirtualAddress kStack{0x7ffc'0000'0000};

/// Programs of processes. What a test makes lies 256 bytes apart; a process's own pages are the kernel's,
/// too.
class Programs : public FakeKernel {
 public:
  Programs() {
    guest.mapPage(kTables, guest.root());
    guest.memory().add({uint64_t{1} << 40}, 64 << 20);  // room for many processes
  }

  /// A process that was started from `file`, with its arguments at [start, end).
  Process addProgram(uint32_t pid, VirtualAddress file, VirtualAddress start, VirtualAddress end) {
    const Process process = addProcess({.pid = pid});
    const VirtualAddress mm = object();
    guest.write(process.task + kMm, mm);
    guest.write(mm, kTables);
    guest.write(mm + 8, start);
    guest.write(mm + 16, end);
    guest.write(mm + 24, file);
    return process;
  }
  Process addProgram(uint32_t pid, std::string_view args) {
    guest.map(kStack, bytesOf(args));
    return addProgram(pid, {}, kStack, kStack + args.size());
  }

  VirtualAddress object() {
    const VirtualAddress at = kObjects + used_++ * 256;
    guest.reserve(at, 256);
    return at;
  }
  VirtualAddress dentry(std::string_view name, VirtualAddress parent, bool hashed = true) {
    const VirtualAddress at = object();
    guest.map(at + 64, bytesOf(std::string(name) + '\0'));
    guest.write(at, parent ? parent : at);
    guest.write(at + 8, at + 64);
    guest.write(at + 16, hashed ? at : VirtualAddress{});
    return at;
  }
  /// struct mount with its vfsmount, whose address it returns, at 32.
  VirtualAddress mount(VirtualAddress root, VirtualAddress parent, VirtualAddress mountpoint) {
    const VirtualAddress at = object();
    guest.write(at, parent ? parent - 32 : at);
    guest.write(at + 8, mountpoint);
    guest.write(at + 32, root);
    return at + 32;
  }
  VirtualAddress file(VirtualAddress mount, VirtualAddress dentry) {
    const VirtualAddress at = object();
    guest.write(at + 16, mount);
    guest.write(at + 24, dentry);
    return at;
  }

  WalkResult read() {
    Kernel found = kernel();
    const auto field = [](uint32_t offset) { return Field{.offset = offset, .size = 8}; };
    Layout::Program& member = found.layout.program.emplace();
    member.mm = field(kMm);
    member.pgd = field(0);
    member.arg_start = field(8);
    member.arg_end = field(16);
    member.exe_file = field(24);
    member.path_mnt = field(16);
    member.path_dentry = field(24);
    member.d_parent = field(0);
    member.d_name = field(8);
    member.d_unhashed = field(16);
    member.mnt = field(32);
    member.mnt_parent = field(0);
    member.mnt_mountpoint = field(8);
    member.mnt_root = field(0);
    auto result = walk(found, {.details = true, .budget = std::chrono::minutes(1)}, {});
    REQUIRE(result.has_value());
    REQUIRE(result->details.size() == result->processes.size());
    return std::move(*result);
  }

 private:
  static constexpr uint32_t kMm = 200;
  uint64_t used_ = 0;
};

std::string text(std::string_view args) { return std::string(args); }

}  // namespace

TEST_CASE("program: the path goes up through mounts to the root") {
  Programs kernel;
  const auto root = kernel.dentry("/", {});
  const auto rootMount = kernel.mount(root, {}, {});
  const auto usr = kernel.dentry("usr", root);
  const auto inner = kernel.dentry("/", {});
  const auto innerMount = kernel.mount(inner, rootMount, usr);
  const auto nc = kernel.dentry("nc", kernel.dentry("bin", inner));
  kernel.addProgram(1, kernel.file(innerMount, nc), {}, {});
  const auto result = kernel.read();
  CHECK(result.details[0].exe == "/usr/bin/nc");
  CHECK(result.details[0].args == "");
  CHECK_FALSE(result.details[0].argsAbsent);
}

TEST_CASE("program: what runs from a memfd has the name that /proc shows, and a removed file says so") {
  Programs kernel;
  const auto root = kernel.dentry("/", {});
  const auto mount = kernel.mount(root, {}, {});
  kernel.addProgram(1, kernel.file(mount, kernel.dentry("memfd:tool", {}, false)), {}, {});
  kernel.addProgram(2, kernel.file(mount, kernel.dentry("gone", root, false)), {}, {});
  const auto result = kernel.read();
  CHECK(result.details[0].exe == "/memfd:tool (deleted)");
  CHECK(result.details[1].exe == "/gone (deleted)");
}

TEST_CASE("program: mounts that lead to each other cost that one path") {
  Programs kernel;
  const auto root = kernel.dentry("/", {});
  const auto mount = kernel.mount(root, {}, {});
  const auto other = kernel.mount(root, mount, root);
  kernel.guest.write(mount - 32, other - 32);
  kernel.guest.write(mount - 24, root);
  kernel.addProgram(1, kernel.file(mount, root), {}, {});
  kernel.addProgram(2, "nc\0-l\0");
  const auto result = kernel.read();
  CHECK_FALSE(result.details[0].exe.has_value());
  CHECK(result.quality.limited == 1);
}

TEST_CASE("program: arguments as they stand, and of what is written over their end the whole title") {
  Programs kernel;
  SUBCASE("arguments") {
    kernel.addProgram(1, std::string_view("nc\0-l\0", 6));
    CHECK(kernel.read().details[0].args == text({"nc\0-l\0", 6}));
  }
  SUBCASE("a title that goes on into the environment") {
    kernel.guest.map(kStack, bytesOf(std::string_view("sshd: user@pts/0\0PATH=/\0", 24)));
    kernel.addProgram(1, {}, kStack, kStack + 6);
    CHECK(kernel.read().details[0].args == text({"sshd: user@pts/0\0", 17}));
  }
  SUBCASE("pages that are not there") {
    kernel.addProgram(1, {}, kStack, kStack + 6);
    const auto result = kernel.read();
    CHECK_FALSE(result.details[0].args.has_value());
    CHECK(result.details[0].argsAbsent);
  }
}

TEST_CASE("program: arguments that many processes have in the same pages are bounded, and it is counted") {
  Programs kernel;
  const uint64_t size = 128 << 10;
  kernel.guest.map(kStack, bytesOf(std::string(size - 1, 'a') + '\0'));
  constexpr uint32_t kProcesses = 600;  // 75 MiB
  for (uint32_t pid = 1; pid <= kProcesses; ++pid) kernel.addProgram(pid, {}, kStack, kStack + size);
  const auto result = kernel.read();
  uint64_t kept = 0;
  for (const ProcessDetails& details : result.details) kept += details.args ? details.args->size() : 0;
  CHECK(kept == 64 << 20);
  CHECK(result.quality.limited == kProcesses - 512);
}
