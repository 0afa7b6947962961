#include "walk/vcpus.h"

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

/// A kernel of two CPUs whose memories hold what each runs.
class TwoCpus : public FakeKernel {
 public:
  static constexpr uint64_t kBase0 = 0xffff'8880'3ec0'0000, kBase1 = 0xffff'8880'3ed0'0000;
  // Per-CPU symbols count from zero here, as before 6.15.
  static constexpr VirtualAddress kCurrentTask{0x1fbc0};

  TwoCpus() {
    guest.reserve(kOffsets, 24);
    guest.write(kOffsets, kBase0);
    guest.write(kOffsets + 8, kBase1);
    guest.write(kOffsets + 16, uint32_t{2});
    for (const uint64_t base : {kBase0, kBase1}) guest.reserve(VirtualAddress{base} + kCurrentTask.value, 8);
  }

  void run(uint64_t base, VirtualAddress task) {
    guest.write(VirtualAddress{base} + kCurrentTask.value, task);
  }

  std::vector<VcpuTask> read(const std::vector<VcpuRegisters>& registers) {
    Kernel found = kernel();
    found.symbols.current_task = kCurrentTask;
    found.symbols.per_cpu_offset = kOffsets;
    found.symbols.nr_cpu_ids = kOffsets + 16;
    auto result = readVcpus(found, registers, {});
    REQUIRE(result.has_value());
    return std::move(*result);
  }

 private:
  static constexpr VirtualAddress kOffsets{0xffff'ffff'8210'0000};
};

VcpuRegisters inKernel(uint64_t gs, uint64_t swapped = 0) {
  return {.rip = 0xffffffff81000000, .gsBase = gs, .privilege = 0, .kernelGsBase = swapped};
}
VcpuRegisters inUser(uint64_t gs, uint64_t swapped) {
  return {.rip = 0x401000, .gsBase = gs, .privilege = 3, .kernelGsBase = swapped};
}

}  // namespace

TEST_CASE("vcpus: the task that each runs, in the kernel and in a program") {
  TwoCpus kernel;
  const auto first = kernel.addProcess({.pid = 10, .comm = "one"});
  const auto second = kernel.addProcess({.pid = 11, .comm = "two"});
  kernel.run(TwoCpus::kBase0, first.task);
  kernel.run(TwoCpus::kBase1, second.task);
  const auto vcpus = kernel.read({inUser(0, TwoCpus::kBase1), inKernel(TwoCpus::kBase0)});
  REQUIRE(vcpus.size() == 2);
  CHECK(vcpus[0].userMode);
  CHECK(vcpus[0].cpu == 1);
  CHECK(vcpus[0].pid == 11);
  CHECK(vcpus[0].comm == "two");
  CHECK(vcpus[0].task == second.task);
  CHECK_FALSE(vcpus[1].userMode);
  CHECK(vcpus[1].cpu == 0);
  CHECK(vcpus[1].pid == 10);
}

TEST_CASE("vcpus: on the way into the kernel its GS base is still in the other register") {
  TwoCpus kernel;
  kernel.run(TwoCpus::kBase0, kernel.addProcess({.pid = 10}).task);
  CHECK(kernel.read({inKernel(0x7f00'0000'1000, TwoCpus::kBase0)})[0].pid == 10);
}

TEST_CASE("vcpus: a program that loads its GS with another CPU's base fools nobody") {
  TwoCpus kernel;
  kernel.run(TwoCpus::kBase0, kernel.addProcess({.pid = 10}).task);
  kernel.run(TwoCpus::kBase1, kernel.addProcess({.pid = 11}).task);
  CHECK(kernel.read({inUser(TwoCpus::kBase1, TwoCpus::kBase0)})[0].pid == 10);
}

TEST_CASE("vcpus: a base that is no CPU's leads to no task, and no error") {
  TwoCpus kernel;
  kernel.run(TwoCpus::kBase0, kernel.addProcess({.pid = 10}).task);
  const auto vcpus =
      kernel.read({inKernel(0), inKernel(TwoCpus::kBase0 + 8), inUser(0, 0xffff'8880'0000'0000)});
  for (const auto& vcpu : vcpus) CHECK_FALSE(vcpu.task);
}

TEST_CASE("vcpus: a pointer that leads nowhere is no task") {
  TwoCpus kernel;
  kernel.run(TwoCpus::kBase0, {0xffff'8880'ffff'0000});
  CHECK_FALSE(kernel.read({inKernel(TwoCpus::kBase0)})[0].task);
}

TEST_CASE("vcpus: around the list from any task there are the processes that init_task's list has") {
  TwoCpus kernel;
  std::vector<FakeKernel::Process> processes;
  for (uint32_t pid = 1; pid <= 20; ++pid) processes.push_back(kernel.addProcess({.pid = pid}));
  kernel.run(TwoCpus::kBase1, kernel.initTask());
  for (const auto& process : processes) {
    kernel.run(TwoCpus::kBase0, process.task);
    const auto vcpus = kernel.read({inKernel(TwoCpus::kBase0), inKernel(TwoCpus::kBase1)});
    for (const auto& vcpu : vcpus) {
      CHECK(vcpu.listed);
      CHECK(vcpu.processes == 20);
    }
  }
}

TEST_CASE("vcpus: a thread that runs stands for its process's list") {
  TwoCpus kernel;
  const auto process = kernel.addProcess({.pid = 10});
  const auto thread = kernel.addThread(process, process.files);
  kernel.setGroupLeader(thread, 12, 10, process);
  kernel.run(TwoCpus::kBase0, thread);
  const auto vcpu = kernel.read({inKernel(TwoCpus::kBase0)})[0];
  CHECK(vcpu.tid == 12);
  CHECK(vcpu.pid == 10);
  CHECK(vcpu.listed);
  CHECK(vcpu.processes == 1);
}

TEST_CASE("vcpus: a process that was taken out of the list but runs is told to be in none") {
  TwoCpus kernel;
  kernel.addProcess({.pid = 1});
  const auto hidden = kernel.addProcess({.pid = 66, .comm = "hidden"});
  kernel.addProcess({.pid = 2});
  kernel.unlink(hidden);
  kernel.run(TwoCpus::kBase0, hidden.task);
  const auto vcpu = kernel.read({inKernel(TwoCpus::kBase0)})[0];
  CHECK(vcpu.comm == "hidden");
  CHECK_FALSE(vcpu.listed);
}

TEST_CASE("vcpus: without registers there is an error that says what to give") {
  const auto result = readVcpus(TwoCpus().kernel(), {}, {});
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().code == std::string("REGISTERS_NOT_FOUND"));
}
