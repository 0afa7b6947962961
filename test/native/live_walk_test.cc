#include "running_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

TEST_CASE("live walk: a guest that stands still is read as an image of it, without a retry") {
  RunningKernel kernel;
  const auto first = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto second = kernel.addProcess({.pid = 11, .uid = 1001});
  const auto shared = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.open(first, 3, shared);
  kernel.open(second, 4, shared);
  kernel.open(second, 5, kernel.addSocket({.localPort = 81, .inode = 2}));
  const auto mptcp = kernel.addSocket({.protocol = 262, .inode = 3});
  kernel.addSubflow(mptcp, kernel.addSocket({.localPort = 82, .inode = 3}));
  kernel.open(first, 6, mptcp);
  const auto result = kernel.walked();
  CHECK(holders(result) == Held{"80 of 1000:10:3", "80 of 1001:11:4", "81 of 1001:11:5", "82 of 1000:10:6"});
  CHECK(result.quality.retries == 0);
  CHECK(clean(result.quality));
  CHECK(result.discrepancies.empty());
}

TEST_CASE("live walk: once it is aborted, no further pass is begun") {
  for (const int pass : {kFirst, kDescriptors, kIds, kSocks, kSockets}) {
    RunningKernel kernel;
    kernel.open(kernel.addProcess({.pid = 10}), 3, kernel.addSocket({.localPort = 80}));
    std::stop_source stop;
    int last = 0;
    kernel.always([&](int epoch) {
      last = epoch;
      if (epoch >= pass) stop.request_stop();
    });
    const auto result = walk(kernel.kernel(), {}, stop.get_token());
    REQUIRE(!result);
    CHECK(result.error().code == "ABORTED");
    // The list of tasks and what it leads to are read in one go.
    CHECK(last == std::max<int>(pass, kDescriptors));
  }
}

TEST_CASE("live walk: a process that ends takes its sockets along, also when they go on with another") {
  RunningKernel kernel;
  const auto old = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto next = kernel.addProcess({.pid = 11, .uid = 1001});
  const auto socket = kernel.addSocket({.localPort = 80});
  kernel.open(old, 3, socket);
  SUBCASE("its table is taken by the other at once") {
    kernel.at(kSockets, [&] {
      kernel.unlink(old);
      kernel.exitFiles(old);
      kernel.setFiles(next, old.files);
    });
    CHECK(holders(kernel.walked()) == Held{"80 of 1001:11:3"});
  }
  SUBCASE("its task is another's at once, with the same pid") {
    kernel.at(kSockets, [&] {
      kernel.setStartTime(old, 99);
      kernel.setIds(old, 1002);
    });
    CHECK(holders(kernel.walked()) == Held{"80 of 1002:10:3"});
  }
  SUBCASE("its task is free, and still reads as it did") {
    kernel.at(kSockets, [&] { kernel.unlink(old); });
    const auto result = kernel.walked();
    CHECK(holders(result).empty());
    CHECK(result.processes.size() == 1);
  }
}

TEST_CASE("live walk: setuid between two reads gives no port to the old user") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 0});
  const auto before = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.open(process, 3, before);
  SUBCASE("for good") {
    kernel.at(kSocks, [&] { kernel.setIds(process, 1003); });
    CHECK(holders(kernel.walked()) == Held{"80 of 1003:10:3"});
  }
  SUBCASE("and back, with a socket that it has only meanwhile") {
    const auto meanwhile = kernel.addSocket({.localPort = 20300, .inode = 2});
    kernel.open(process, 4, meanwhile);
    kernel.at(kIds, [&] { kernel.setIds(process, 1003); });
    kernel.at(kSockets, [&] { kernel.setIds(process, 0); });
    kernel.at(kSecondRound, [&] { kernel.close(process, 4); });
    CHECK(holders(kernel.walked()) == Held{"80 of 0:10:3"});
  }
}

TEST_CASE("live walk: descriptors that change between two reads") {
  RunningKernel kernel;
  const auto first = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto second = kernel.addProcess({.pid = 11, .uid = 1001});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.open(first, 3, socket);
  SUBCASE("closed, and the file opened by another") {
    kernel.at(kSocks, [&] {
      kernel.close(first, 3);
      kernel.open(second, 5, socket);
    });
    const auto result = kernel.walked();
    CHECK(holders(result).empty());
    CHECK(result.quality.abandoned == 0);
  }
  SUBCASE("another file under the same number is read instead") {
    const auto other = kernel.addSocket({.localPort = 81, .inode = 2});
    kernel.at(kSocks, [&] { kernel.open(first, 3, other); });
    const auto result = kernel.walked();
    CHECK(holders(result) == Held{"81 of 1000:10:3"});
    CHECK(result.quality.retries == 1);
    CHECK(clean(result.quality));
  }
  SUBCASE("another socket at all the same addresses has another number") {
    kernel.at(kSockets, [&] { kernel.setInode(socket, 2); });
    const auto result = kernel.walked();
    CHECK(result.sockets[0].inode == 2);
    CHECK(result.quality.retries == 1);
  }
  SUBCASE("a file that became something else is no socket") {
    kernel.at(kSocks, [&] { kernel.guest.write(socket.file, uint64_t{0x1234'5678}); });
    CHECK(holders(kernel.walked()).empty());
  }
  SUBCASE("a socket whose sock is taken away and given to another makes no row") {
    const auto other = kernel.addSocket({.localPort = 81, .uid = 1001, .inode = 2});
    kernel.at(kSockets, [&] {
      kernel.guest.write(socket.socket + 8, uint64_t{0});
      kernel.guest.write(other.socket + 8, socket.sock);
    });
    CHECK(holders(kernel.walked()).empty());
  }
  SUBCASE("a table that grew is read where it is now") {
    FakeKernel::Process larger;
    kernel.addTable(larger, 256);
    kernel.open(larger, 3, socket);
    kernel.open(larger, 200, kernel.addSocket({.localPort = 81, .inode = 2}));
    kernel.at(kSockets, [&] {
      kernel.guest.write(first.files, larger.fdtable);
      kernel.close(first, 3);  // the old one is free, and somebody's
    });
    CHECK(holders(kernel.walked()) == Held{"80 of 1000:10:3", "81 of 1000:10:200"});
  }
}

TEST_CASE("live walk: a sock's addresses are those of one moment") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.open(process, 3, socket);
  SUBCASE("they are read again until they read the same twice") {
    kernel.at(kSocks, [&] { kernel.setLocalPort(socket, 81); });
    const auto result = kernel.walked();
    CHECK(holders(result) == Held{"81 of 1000:10:3"});
    CHECK(result.quality.retries == 1);
    CHECK(clean(result.quality));
  }
  SUBCASE("who never lets them stand hides nothing by it") {
    kernel.always([&](int epoch) { kernel.setLocalPort(socket, static_cast<uint16_t>(1000 + epoch)); });
    const auto result = kernel.walked();
    CHECK(result.owners.size() == 1);
    CHECK(result.quality.torn == 1);
  }
}

TEST_CASE("live walk: what never stands is abandoned and counted; the process stays") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .uid = 1000});
  const auto socket = kernel.addSocket({.localPort = 80, .inode = 1});
  kernel.open(process, 3, socket);
  kernel.always([&](int epoch) { kernel.setInode(socket, 100 + static_cast<uint64_t>(epoch)); });
  const auto result = kernel.walked();
  CHECK(result.owners.empty());
  CHECK(result.processes.size() == 1);
  CHECK(result.quality.abandoned == 1);
}

TEST_CASE("live walk: a process that takes another name keeps its sockets") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10, .comm = "old", .uid = 1000});
  kernel.open(process, 3, kernel.addSocket({.localPort = 80}));
  SUBCASE("once") {
    kernel.at(kSockets, [&] { kernel.setComm(process, "new"); });
    const auto result = kernel.walked();
    CHECK(holders(result) == Held{"80 of 1000:10:3"});
    CHECK(std::string(result.processes[0].comm.data()) == "new");
    CHECK(clean(result.quality));
  }
  SUBCASE("all the time, to hide") {
    kernel.always([&](int epoch) { kernel.setComm(process, epoch % 2 == 0 ? "even" : "odd!"); });
    const auto result = kernel.walked();
    CHECK(holders(result) == Held{"80 of 1000:10:3"});
  }
}

TEST_CASE("live walk: a list whose nodes move is followed to its end") {
  RunningKernel kernel;
  std::vector<FakeKernel::Process> processes;
  for (uint32_t pid = 10; pid < 20; ++pid) processes.push_back(kernel.addProcess({.pid = pid}));
  const auto pids = [](const WalkResult& result) {
    std::set<uint32_t> found;
    for (const Process& process : result.processes) found.insert(process.pid);
    return found;
  };
  SUBCASE("a task that was freed, and is the last one now, does not cut it short") {
    // It is there, under another's identity, before its old place is left.
    kernel.at(kSockets, [&] {
      kernel.unlink(processes[1]);
      kernel.unlink(processes[2]);
    });
    CHECK(pids(kernel.walked()) == std::set<uint32_t>{10, 13, 14, 15, 16, 17, 18, 19});
  }
  SUBCASE("what begins meanwhile is nobody hidden") {
    kernel.at(kIds, [&] { kernel.addProcess({.pid = 30}); });
    CHECK(kernel.walked().discrepancies.empty());
  }
}

TEST_CASE("live walk: discrepancies count when they are there twice") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  SUBCASE("a hidden process") {
    const auto hidden = kernel.addProcess({.pid = 11, .inTaskList = false});
    kernel.open(hidden, 3, kernel.addSocket({.localPort = 80}));
    const auto result = kernel.walked();
    REQUIRE(result.discrepancies.size() == 1);
    CHECK(result.discrepancies[0].kind == Discrepancy::Kind::kNotInTaskList);
    CHECK(holders(result) == Held{"80 of 0:11:3"});
  }
  SUBCASE("one that the pid table does not have") {
    kernel.addProcess({.pid = 11, .inPidTable = false});
    kernel.addProcess({.pid = 12});
    const auto result = kernel.walked();
    REQUIRE(result.discrepancies.size() == 1);
    CHECK(result.discrepancies[0].kind == Discrepancy::Kind::kNotInPidTable);
  }
  SUBCASE("the last one may be in the middle of its fork, for as long as its virtual CPU is away") {
    kernel.addProcess({.pid = 11, .inPidTable = false});
    CHECK(kernel.walked().discrepancies.empty());
  }
}

TEST_CASE("live walk: sockets of the tables that nobody holds read the same twice, in their place") {
  RunningKernel kernel;
  kernel.addProcess({.pid = 10});
  const FakeKernel::SocketSpec raw{.type = 3, .protocol = 89, .localPort = 89, .uid = 1000, .inode = 7};
  const auto socket = kernel.addSocket(raw);
  kernel.hash(socket, 1);
  kernel.forgetFile(socket);
  constexpr int kAgain = 9;  // after the round, the tables, and then what they have again
  SUBCASE("one that stays") {
    const auto result = kernel.walked();
    REQUIRE(result.sockets.size() == 1);
    CHECK(result.sockets[0].unownedReason == UnownedReason::kKernel);
    CHECK(clean(result.quality));
  }
  SUBCASE("one that is taken out is none") {
    kernel.at(kAgain, [&] { kernel.unhash(socket); });
    CHECK(kernel.walked().sockets.empty());
  }
  SUBCASE("one that another user has by now is his, and read again") {
    kernel.at(kAgain, [&] { kernel.setSockUid(socket, 1001); });
    const auto result = kernel.walked();
    REQUIRE(result.sockets.size() == 1);
    CHECK(result.sockets[0].uid == 1001);
    CHECK(result.quality.retries == 1);
  }
  SUBCASE("one whose reason changes has none that is known") {
    kernel.at(kAgain, [&] { kernel.guest.write(socket.socket, socket.file); });
    const auto result = kernel.walked();
    REQUIRE(result.sockets.size() == 1);
    CHECK(result.sockets[0].unownedReason == UnownedReason::kUnknown);
  }
}

TEST_CASE("live walk: another boot of the guest is no result") {
  RunningKernel fake;
  const auto init = fake.addProcess({.pid = 1});
  Kernel kernel = fake.kernel();
  kernel.boot = Boot{init.task, 1001};
  CHECK(walk(kernel, {}, {}).has_value());
  SUBCASE("before the walk") { fake.setStartTime(init, 99); }
  SUBCASE("during the walk") {
    fake.always([&](int) { fake.setStartTime(init, 99); });
  }
  CHECK(walk(kernel, {}, {}).error().code == std::string("GUEST_CHANGED"));
}

TEST_CASE("live walk: a guest that is paused is read once, and still asked whether it is the same") {
  RunningKernel kernel;
  const auto process = kernel.addProcess({.pid = 10});
  kernel.open(process, 3, kernel.addSocket({.localPort = 22}));
  int epochs = 0;
  kernel.always([&](int epoch) { epochs = epoch; });
  const auto result = walk(kernel.kernel(), {.paused = true}, {});
  REQUIRE(result.has_value());
  CHECK(holders(*result) == Held{"22 of 0:10:3"});
  const int paused = epochs;
  kernel.walked();
  CHECK(epochs - paused > paused);
}
