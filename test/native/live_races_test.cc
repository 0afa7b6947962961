#include "running_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

// The races that docs/consistency.md names, each as the guest would have to run it.

TEST_CASE("live races: a task and its successor that come back at the end of the list lead past nobody") {
  RunningKernel kernel;
  std::vector<FakeKernel::Process> processes;
  for (uint32_t pid = 10; pid < 15; ++pid) {
    kernel.startPage();
    // The pid table would tell of those who were missed.
    processes.push_back(kernel.addProcess({.pid = pid, .inPidTable = false}));
  }
  // The walk is at the second, and has just been told of the third.
  kernel.beforeRead(kFirst, processes[2].task, [&] {
    for (const auto& process : {processes[1], processes[2]}) {
      kernel.unlink(process);
      kernel.relink(process);
      kernel.setStartTime(process, 2000);
    }
  });
  std::set<uint32_t> pids;
  for (const Process& process : kernel.walked().processes) pids.insert(process.pid);
  CHECK(pids == std::set<uint32_t>{10, 11, 12, 13, 14});
}

TEST_CASE("live races: a sock that moves to another chain leads past none of the others") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  std::vector<FakeKernel::File> files;
  for (uint16_t port = 1; port <= 3; ++port) {
    files.push_back(kernel.addSocket({.type = 3, .protocol = port, .localPort = port, .inode = port}));
    kernel.forgetFile(files.back());
    kernel.startPage();
  }
  constexpr int kTables = 6;
  SUBCASE("together with the one before it: the end is another chain's") {
    kernel.makeChain(1, {files[0], files[1], files[2]});
    kernel.beforeRead(kTables, files[1].sock, [&] {
      kernel.makeChain(1, {files[2]});
      kernel.makeChain(2, {files[0], files[1]});
    });
  }
  SUBCASE("alone, where ends are all alike: it does not lead back") {
    for (const size_t i : {2, 1, 0}) kernel.hash(files[i], 1);
    kernel.beforeRead(kTables, files[1].sock, [&] {
      kernel.unhash(files[1]);
      kernel.hash(files[1], 2);
    });
  }
  const auto result = kernel.walked();
  std::set<uint16_t> ports;
  for (const Socket& socket : result.sockets) ports.insert(socket.localPort);
  CHECK(ports.contains(1));
  CHECK(ports.contains(3));
  CHECK(result.quality.torn == 0);
}

TEST_CASE("live races: a subflow that becomes somebody else's sock gives him no port") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto mptcp = kernel.addSocket({.protocol = 262, .inode = 3});
  const auto subflow = kernel.addSocket({.localPort = 82, .inode = 3});
  kernel.addSubflow(mptcp, subflow);
  kernel.open(process, 3, mptcp);
  SUBCASE("with other addresses") {
    kernel.at(kSocks, [&] { kernel.setLocalPort(subflow, 20300); });
    kernel.at(kSecondRound, [&] { kernel.setLocalPort(subflow, 82); });
    CHECK(holders(kernel.walked()) == Held{"82 of 1000:10:3"});
  }
  SUBCASE("with the same, but another number") {
    kernel.at(kSocks, [&] { kernel.setInode(subflow, 4); });
    const auto result = kernel.walked();
    CHECK(result.quality.retries == 1);
    CHECK(clean(result.quality));
  }
}

// Between the two looks the sock was a user's, with a port of his.
TEST_CASE("live races: a sock that comes back behind another socket at the same address") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1, .inodeApart = true});
  kernel.open(process, 3, socket);
  SUBCASE("is not taken for the successor's, whose number was there before it") {
    SUBCASE("in mapped memory") {}
    SUBCASE("in copies of pages") { kernel.guest.memory().isCopied = true; }
    kernel.beforeRead(kDescriptors, kernel.inodeOf(socket), [&] {
      kernel.setInode(socket, 2);
      kernel.setSock(socket, {});
      kernel.setLocalPort(socket, 20300);
    });
    kernel.at(kSockets, [&] {
      kernel.setSock(socket, socket.sock);
      kernel.setLocalPort(socket, 81);
    });
    CHECK(holders(kernel.walked()) == Held{"81 of 1000:10:3"});
  }
  SUBCASE("is not taken for its predecessor's, whose number is still there") {
    kernel.guest.memory().isCopied = true;
    // So that addresses stand as they read last: there is one round more than these.
    constexpr int kLast = kFirst + 6 * 4;
    kernel.always([&](int epoch) {
      if (epoch < kLast) kernel.setLocalPort(socket, static_cast<uint16_t>(1000 + epoch));
    });
    kernel.beforeRead(kLast + 3, socket.sock, [&] {
      kernel.setSock(socket, {});
      kernel.setLocalPort(socket, 20300);
    });
    kernel.beforeRead(kLast + 4, socket.socket, [&] {
      kernel.setInode(socket, 2);
      kernel.setSock(socket, socket.sock);
    });
    const auto result = kernel.walked();
    CHECK(holders(result).empty());
    CHECK(result.quality.abandoned == 1);
  }
}

TEST_CASE("live races: a file that leads to another file's socket does not hold it") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.setSocket(socket, kernel.addSocket({.localPort = 81, .inode = 2}).socket);
  kernel.open(process, 3, socket);
  const auto result = kernel.walked();
  CHECK(holders(result).empty());
  CHECK(result.quality.abandoned == 1);
}

TEST_CASE("live races: a file that another socket has by now is read as that one's") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1});
  const auto next = kernel.addSocket({.localPort = 81, .inode = 2});
  kernel.open(process, 3, socket);
  kernel.at(kSocks, [&] {
    kernel.setSocket(socket, next.socket);
    kernel.guest.write(next.socket, socket.file);
  });
  CHECK(holders(kernel.walked()) == Held{"81 of 1000:10:3"});
}

TEST_CASE("live races: the table of a process that exits, and is still there, is its next user's") {
  RunningKernel kernel;
  const auto old = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto next = kernel.addProcess({.pid = 11, .uid = 1001});
  kernel.open(old, 3, kernel.addSocket({.localPort = 80}));
  kernel.at(kSockets, [&] {
    kernel.exitFiles(old);
    kernel.setFiles(next, old.files);
  });
  CHECK(holders(kernel.walked()) == Held{"80 of 1001:11:3"});
}

TEST_CASE("live races: a user does not get what was closed before the process became his") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .comm = "old", .uid = 0});
  kernel.open(process, 3, kernel.addSocket({.localPort = 80}));
  const auto becomeUser = [&] {
    kernel.close(process, 3);
    kernel.setIds(process, 1003);
  };
  SUBCASE("after its descriptors were looked at again") { kernel.at(kSockets, becomeUser); }
  SUBCASE("a round later, when it is looked at for its new name") {
    kernel.at(kSockets, [&] { kernel.setComm(process, "new"); });
    kernel.at(kSecondRound + 5, becomeUser);
  }
  const auto result = kernel.walked();
  CHECK(result.processes[0].uid == 1003);
  CHECK(holders(result).empty());
}

TEST_CASE("live races: a name that is being written is read until it stands") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .comm = "old"});
  kernel.at(kSockets, [&] { kernel.setComm(process, "new"); });
  kernel.at(kSecondRound, [&] { kernel.setComm(process, "newer"); });
  const auto result = kernel.walked();
  CHECK(std::string(result.processes[0].comm.data()) == "newer");
  CHECK(clean(result.quality));
}

TEST_CASE("live races: a process that only the pid table has, and that ends, is nobody hidden") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  const auto hidden = kernel.addProcess({.pid = 11, .inTaskList = false});
  kernel.at(kSecondRound + 5, [&] { kernel.detachPid(hidden); });
  const auto result = kernel.walked();
  CHECK(result.processes.size() == 1);
  CHECK(result.discrepancies.empty());
}

TEST_CASE("live races: copies of different ages that disagree about a list are read anew") {
  RunningKernel kernel;
  kernel.guest.memory().isCopied = true;
  std::vector<FakeKernel::Process> processes;
  for (uint32_t pid = 10; pid < 15; ++pid) {
    kernel.startPage();
    processes.push_back(kernel.addProcess({.pid = pid, .inPidTable = false}));
  }
  // The copy of the second still leads to it.
  kernel.beforeRead(kFirst, processes[2].task, [&] { kernel.unlink(processes[2]); });
  const auto result = kernel.walked();
  CHECK(result.processes.size() == 4);
  CHECK(result.quality.retries == 1);
  CHECK(clean(result.quality));
}

TEST_CASE(
    "live races: a socket that is opened after the descriptors were read has a holder that is not known") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  const auto socket = kernel.addSocket({.type = 3, .protocol = 89, .localPort = 89});
  kernel.at(kSecondRound, [&] {
    kernel.open(process, 3, socket);
    kernel.hash(socket, 1);
  });
  const auto result = kernel.walked();
  REQUIRE(result.sockets.size() == 1);
  CHECK(result.sockets[0].unownedReason == UnownedReason::kUnknown);
}

// Its process counted one thread before that one began, and has one again.
TEST_CASE("live races: the table of a thread that has ended is not its process's when another has it") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto next = kernel.addProcess({.pid = 11, .uid = 1001});
  kernel.open(next, 3, kernel.addSocket({.localPort = 80}));
  kernel.addThread(process, next.files);
  kernel.at(kIds, [&] { kernel.endThreads(process); });
  CHECK(holders(kernel.walked()) == Held{"80 of 1001:11:3"});
}
