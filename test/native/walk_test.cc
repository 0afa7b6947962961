#include "walk/walk.h"

#include <set>

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kUnmapped{0xffff'c900'dead'b000};

WalkResult walkAll(const FakeKernel& kernel) {
  auto result = walk(kernel.kernel(), {}, {});
  REQUIRE(result.has_value());
  return std::move(*result);
}

std::vector<uint32_t> pids(const WalkResult& result) {
  std::vector<uint32_t> found;
  for (const Process& process : result.processes) found.push_back(process.pid);
  return found;
}

/// "pid:fd" of each owner of a socket.
std::multiset<std::string> owners(const WalkResult& result, uint32_t socket = 0) {
  std::multiset<std::string> found;
  for (const Owner& owner : result.owners) {
    if (owner.socket == socket) {
      found.insert(std::to_string(result.processes[owner.process].pid) + ":" + std::to_string(owner.fd));
    }
  }
  return found;
}

bool clean(const Quality& q) { return q.torn + q.abandoned + q.badPointers + q.limited == 0; }

}  // namespace

TEST_CASE("walk: processes in the order of the kernel's list, with what their task says") {
  FakeKernel kernel;
  kernel.addProcess({.pid = 1, .comm = "init"});
  kernel.addProcess({.pid = 539, .comm = "nc", .uid = 1003});
  const auto result = walkAll(kernel);
  REQUIRE(pids(result) == std::vector<uint32_t>{1, 539});
  const Process& nc = result.processes[1];
  CHECK(std::string(nc.comm.data(), nc.commSize) == "nc");
  CHECK(nc.uid == 1003);
  CHECK(nc.fsgid == 1003);
  CHECK(nc.ppid == 0);
  CHECK(nc.threads == 1);
  CHECK(nc.state == 'R');
  CHECK(nc.session == 539);
  CHECK(nc.nspid == 539);
  CHECK(nc.netns == FakeKernel::kNetInum);
  CHECK(nc.pidns == FakeKernel::kPidInum);
  CHECK(clean(result.quality));
}

TEST_CASE("walk: a guest without processes has none") { CHECK(walkAll(FakeKernel()).processes.empty()); }

TEST_CASE("walk: a socket leads from its descriptor to its owner") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.open(process, 3, kernel.addSocket({.localPort = 8080, .uid = 33, .inode = 777}));
  const auto result = walkAll(kernel);
  REQUIRE(result.sockets.size() == 1);
  CHECK(result.sockets[0].localPort == 8080);
  CHECK(result.sockets[0].uid == 33);
  CHECK(result.sockets[0].inode == 777);
  CHECK(result.sockets[0].netns == FakeKernel::kNetInum);
  CHECK(owners(result) == std::multiset<std::string>{"10:3"});
}

TEST_CASE("walk: a socket that several processes and descriptors hold is one row with each as owner") {
  FakeKernel kernel;
  const auto parent = kernel.addProcess({.pid = 10});
  const auto child = kernel.addProcess({.pid = 11});
  const auto socket = kernel.addSocket({});
  kernel.open(parent, 3, socket);
  kernel.open(parent, 9, socket);
  kernel.open(child, 3, socket);
  const auto result = walkAll(kernel);
  CHECK(result.sockets.size() == 1);
  CHECK(owners(result) == std::multiset<std::string>{"10:3", "10:9", "11:3"});
}

TEST_CASE("walk: processes that share a table own its sockets alike; it is walked once") {
  FakeKernel kernel;
  const auto first = kernel.addProcess({.pid = 10});
  kernel.addProcess({.pid = 11, .files = first.files});
  kernel.open(first, 5, kernel.addSocket({}));
  const auto result = walkAll(kernel);
  CHECK(result.quality.fdTables == 1);
  CHECK(owners(result) == std::multiset<std::string>{"10:5", "11:5"});
}

TEST_CASE(
    "walk: a thread with a table of its own adds its sockets to the process; the same number is said once") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  FakeKernel::Process own;
  kernel.addTable(own, 64);
  kernel.addThread(process, own.files);
  kernel.addThread(process, process.files);
  const auto shared = kernel.addSocket({.localPort = 1});
  kernel.open(process, 3, shared);
  kernel.open(own, 3, shared);
  kernel.open(own, 4, kernel.addSocket({.localPort = 2}));
  const auto result = walkAll(kernel);
  CHECK(result.quality.threads == 3);
  CHECK(result.quality.fdTables == 2);
  REQUIRE(result.sockets.size() == 2);
  for (uint32_t row = 0; row < 2; ++row) {
    CHECK(owners(result, row) ==
          std::multiset<std::string>{result.sockets[row].localPort == 1 ? "10:3" : "10:4"});
  }
}

TEST_CASE("walk: a leader that has exited leaves its sockets to the threads that live") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.addThread(process, process.files);
  kernel.guest.write(process.task + 96, uint64_t{0});   // files
  kernel.guest.write(process.task + 104, uint64_t{0});  // nsproxy
  kernel.open(process, 3, kernel.addSocket({}));
  const auto result = walkAll(kernel);
  CHECK(owners(result) == std::multiset<std::string>{"10:3"});
  CHECK(result.processes[0].netns == FakeKernel::kNetInum);
}

TEST_CASE("walk: tables beyond one word and beyond 1024 descriptors are walked to their end") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .maxFds = 4096});
  for (const uint32_t fd : {0U, 63U, 64U, 1024U, 4095U}) {
    kernel.open(process, fd, kernel.addSocket({.localPort = static_cast<uint16_t>(fd)}));
  }
  const auto result = walkAll(kernel);
  CHECK(result.sockets.size() == 5);
  CHECK(result.owners.back().fd == 4095);
}

TEST_CASE("walk: a bit with no file behind it is a task inside accept, not an error") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.setBit(process, 7);
  const auto result = walkAll(kernel);
  CHECK(result.owners.empty());
  CHECK(clean(result.quality));
}

TEST_CASE("walk: bits beyond max_fds belong to no descriptor") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .maxFds = 64});
  kernel.open(process, 40, kernel.addSocket({}));
  kernel.guest.write(process.fdtable, uint32_t{40});
  CHECK(walkAll(kernel).owners.empty());
}

TEST_CASE("walk: sockets of other families and protocols make no rows") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.open(process, 3, kernel.addSocket({.family = 1}));                 // AF_UNIX
  kernel.open(process, 4, kernel.addSocket({.type = 5, .protocol = 132}));  // SCTP
  kernel.open(process, 5, kernel.addSocket({.type = 2, .protocol = 115}));  // L2TP
  const auto result = walkAll(kernel);
  CHECK(result.sockets.empty());
  CHECK(result.quality.files == 3);
  CHECK(clean(result.quality));
}

TEST_CASE("walk: each protocol by its type and number; a raw socket's port is its protocol") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.open(process, 0, kernel.addSocket({.type = 1, .protocol = 6}));
  kernel.open(process, 1, kernel.addSocket({.type = 2, .protocol = 17}));
  kernel.open(process, 2, kernel.addSocket({.type = 2, .protocol = 136}));
  kernel.open(process, 3, kernel.addSocket({.type = 3, .protocol = 89, .localPort = 89}));
  kernel.open(process, 4, kernel.addSocket({.type = 2, .protocol = 58, .family = 10}));
  const auto result = walkAll(kernel);
  std::vector<Protocol> protocols;
  for (const Socket& socket : result.sockets) protocols.push_back(socket.protocol);
  CHECK(protocols ==
        std::vector{Protocol::kTcp, Protocol::kUdp, Protocol::kUdplite, Protocol::kRaw, Protocol::kIcmp});
  CHECK(result.sockets[3].localPort == 89);
}

TEST_CASE("walk: an IPv6 wildcard listener owns IPv4 too unless it is IPv6-only") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  const FakeKernel::SocketSpec listener{.family = 10, .state = 10};
  kernel.open(process, 0, kernel.addSocket(listener));
  const auto only6 = kernel.addSocket(listener);
  kernel.setIpv6Only(only6);
  kernel.open(process, 1, only6);
  const auto specific = kernel.addSocket(listener);
  kernel.setLocalAddress6(specific, {"\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16});
  kernel.open(process, 2, specific);
  kernel.open(process, 3, kernel.addSocket({.family = 10, .state = 1}));
  const auto result = walkAll(kernel);
  std::vector<bool> dualStack;
  for (const Socket& socket : result.sockets) dualStack.push_back(socket.dualStack);
  CHECK(dualStack == std::vector<bool>{true, false, false, false});
}

TEST_CASE("walk: a v4-mapped address is the IPv4 address that it stands for") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  const auto socket = kernel.addSocket({.family = 10});
  kernel.setLocalAddress6(socket, {"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\2\x0f", 16});
  kernel.open(process, 0, socket);
  const auto result = walkAll(kernel);
  CHECK(result.sockets[0].family == 6);
  CHECK(result.sockets[0].localIsIpv4);
  CHECK_FALSE(result.sockets[0].remoteIsIpv4);
  CHECK(result.sockets[0].localAddress == std::array<uint8_t, 16>{10, 0, 2, 15});
}

TEST_CASE("walk: an MPTCP socket's rows are its TCP subflows, owned by its holders") {
  FakeKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  const auto mptcp = kernel.addSocket({.protocol = 262});
  kernel.addSubflow(mptcp, kernel.addSocket({.localPort = 1001}));
  kernel.addSubflow(mptcp, kernel.addSocket({.localPort = 1002}));
  kernel.addSubflow(mptcp, kernel.addSocket({.state = 7, .localPort = 0}));
  kernel.open(process, 6, mptcp);
  const auto result = walkAll(kernel);
  REQUIRE(result.sockets.size() == 2);
  for (uint32_t row = 0; row < 2; ++row) {
    CHECK(result.sockets[row].mptcp);
    CHECK(owners(result, row) == std::multiset<std::string>{"10:6"});
  }
}

TEST_CASE("walk: what was done to hide or to break costs what it touches, and is counted") {
  FakeKernel kernel;
  const auto first = kernel.addProcess({.pid = 10});
  const auto second = kernel.addProcess({.pid = 11});
  const auto third = kernel.addProcess({.pid = 12});
  const auto good = kernel.addSocket({.localPort = 1});
  const auto bad = kernel.addSocket({.localPort = 2});
  kernel.open(first, 3, good);
  kernel.open(second, 3, bad);

  SUBCASE("a link of the process list that leads nowhere: the rest is walked from the other end") {
    kernel.guest.write(first.task + FakeKernel::kTasks, kUnmapped);
    const auto result = walkAll(kernel);
    CHECK(pids(result) == std::vector<uint32_t>{10, 12, 11});
    CHECK(result.quality.badPointers == 1);
  }
  SUBCASE("a link back into the list") {
    kernel.guest.write(third.task + FakeKernel::kTasks, first.task + FakeKernel::kTasks);
    const auto result = walkAll(kernel);
    CHECK(pids(result) == std::vector<uint32_t>{10, 11, 12});
    CHECK(result.quality.torn > 0);
  }
  SUBCASE("a link to itself") {
    kernel.guest.write(second.task + FakeKernel::kTasks, second.task + FakeKernel::kTasks);
    const auto result = walkAll(kernel);
    CHECK(pids(result) == std::vector<uint32_t>{10, 11, 12});
    CHECK(result.quality.torn == 1);
  }
  SUBCASE("credentials that are not there are unknown, not root's") {
    kernel.guest.write(second.task + 80, kUnmapped);
    const auto result = walkAll(kernel);
    CHECK(result.processes[1].uid == kNoId);
    CHECK(result.quality.badPointers == 1);
  }
  SUBCASE("a sock that is not there") {
    kernel.guest.write(bad.socket + 8, kUnmapped);
    const auto result = walkAll(kernel);
    CHECK(result.sockets.size() == 1);
    CHECK(result.quality.badPointers == 1);
  }
  SUBCASE("a socket that names another file") {
    kernel.guest.write(bad.socket, good.file);
    const auto result = walkAll(kernel);
    CHECK(result.sockets.size() == 1);
    CHECK(result.quality.abandoned == 1);
  }
  SUBCASE("a table that claims four billion descriptors") {
    kernel.guest.write(second.fdtable, ~uint32_t{0});
    const auto result = walkAll(kernel);
    CHECK(result.sockets.size() == 1);
    CHECK(result.quality.limited == 1);
  }
  SUBCASE("a pid in a namespace 4 billion levels deep") {
    FakeKernel deep;
    deep.addProcess({.pid = 10, .pidLevel = ~uint32_t{0}});
    const auto result = walkAll(deep);
    CHECK(result.processes[0].nspid == kNoId);
    CHECK(result.quality.torn == 1);
  }
  SUBCASE("files that are not there") {
    kernel.guest.write(second.task + 96, kUnmapped);
    const auto result = walkAll(kernel);
    CHECK(result.processes.size() == 3);
    CHECK(result.sockets.size() == 1);
    CHECK(result.quality.badPointers == 1);
  }
}

TEST_CASE("walk: a process that only the pid table has is walked like any other, and reported as hidden") {
  FakeKernel kernel;
  kernel.addProcess({.pid = 10});
  const auto hidden = kernel.addProcess({.pid = 11, .comm = "rootkit", .inTaskList = false});
  kernel.open(hidden, 3, kernel.addSocket({}));
  const auto result = walkAll(kernel);
  CHECK(pids(result) == std::vector<uint32_t>{10, 11});
  CHECK(owners(result) == std::multiset<std::string>{"11:3"});
  REQUIRE(result.discrepancies.size() == 1);
  CHECK(result.discrepancies[0].process == 1);
  CHECK(result.discrepancies[0].kind == Discrepancy::Kind::kNotInTaskList);
}

TEST_CASE(
    "walk: a process that only the task list has is reported; that all are missing says nothing of anybody") {
  FakeKernel kernel;
  kernel.addProcess({.pid = 10});
  SUBCASE("one") {
    kernel.addProcess({.pid = 11, .inPidTable = false});
    const auto result = walkAll(kernel);
    REQUIRE(result.discrepancies.size() == 1);
    CHECK(result.discrepancies[0].kind == Discrepancy::Kind::kNotInPidTable);
  }
  SUBCASE("all") {
    FakeKernel bare;
    bare.addProcess({.pid = 10, .inPidTable = false});
    CHECK(walkAll(bare).discrepancies.empty());
  }
}

TEST_CASE("walk: a chain that goes in circles, each link confirmed, is followed once") {
  FakeKernel kernel;
  const auto other = kernel.addSocket({.type = 3, .localPort = 1});
  kernel.hash(other, 3);
  kernel.selfHash(0);  // its back link is the head of chain 1, which leads nowhere else then
  const auto result = walkAll(kernel);
  CHECK(result.quality.torn == 2);
  CHECK(result.sockets.size() == 1);
}

TEST_CASE("walk: it ends with its budget, and at once when it is aborted") {
  FakeKernel kernel;
  kernel.addProcess({.pid = 10, .maxFds = 1 << 20});
  CHECK(walk(kernel.kernel(), {.budget = std::chrono::nanoseconds(1)}, {}).error().code ==
        std::string("WALK_BUDGET"));
  std::stop_source stop;
  stop.request_stop();
  CHECK(walk(kernel.kernel(), {}, stop.get_token()).error().code == std::string("ABORTED"));
}
