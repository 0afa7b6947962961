#include "snapshot/difference.h"

#include <algorithm>

#include "doctest/doctest.h"

using namespace xfilter;

namespace {

Process process(uint32_t pid, uint64_t startTime = 1) {
  Process made{.task = {0xffff'8880'0000'0000 + pid * 0x1000}, .startTime = startTime, .pid = pid};
  made.comm[0] = 'x';
  made.commSize = 1;
  return made;
}

Socket socket(uint16_t port, uint64_t inode) {
  return {.sock = {0xffff'8881'0000'0000 + port * 0x1000U}, .inode = inode, .localPort = port, .state = 1};
}

bool nothing(const Difference& difference) {
  return difference.empty() && difference.before.processes.empty() && difference.after.processes.empty() &&
         difference.before.sockets.empty() && difference.after.sockets.empty();
}

/// Process 10 holds socket 22 as descriptor 3; process 11 holds nothing.
WalkResult calm() {
  WalkResult walk;
  walk.processes = {process(10), process(11)};
  walk.sockets = {socket(22, 100)};
  walk.owners = {{.socket = 0, .process = 0, .fd = 3}};
  return walk;
}

}  // namespace

TEST_CASE("difference: a guest that stood still has none, and no rows") {
  CHECK(nothing(compare(calm(), calm())));
}

TEST_CASE("difference: from nothing, everything came") {
  const auto difference = compare({}, calm());
  CHECK(difference.processes.came.size() == 2);
  CHECK(difference.sockets.came.size() == 1);
  REQUIRE(difference.after.owners.size() == 1);
  CHECK(difference.after.processes[difference.after.owners[0].process].pid == 10);
}

TEST_CASE("difference: processes that started and ended") {
  WalkResult later = calm();
  later.processes[1] = process(12);
  const auto difference = compare(calm(), later);
  REQUIRE(difference.processes.gone.size() == 1);
  REQUIRE(difference.processes.came.size() == 1);
  CHECK(difference.processes.changed.empty());
  CHECK(difference.before.processes[difference.processes.gone[0]].pid == 11);
  CHECK(difference.after.processes[difference.processes.came[0]].pid == 12);
}

TEST_CASE("difference: a pid and a task that are used again are another process") {
  WalkResult later = calm();
  later.processes[1] = process(11, 2);
  const auto difference = compare(calm(), later);
  CHECK(difference.processes.gone.size() == 1);
  CHECK(difference.processes.came.size() == 1);
}

TEST_CASE("difference: changed credentials, names, namespaces and cgroups, not what changes all the time") {
  const auto changes = [](auto change) {
    WalkResult later = calm();
    later.cgroups = {"/a"};
    change(later.processes[1]);
    return compare(calm(), later).processes.changed.size();
  };
  CHECK(changes([](Process& p) { p.uid = 1003; }) == 1);
  CHECK(changes([](Process& p) { p.fsgid = 7; }) == 1);
  CHECK(changes([](Process& p) { p.loginuid = 7; }) == 1);
  CHECK(changes([](Process& p) { p.comm[0] = 'y'; }) == 1);
  CHECK(changes([](Process& p) { p.netns = 0; }) == 0);  // it has ended, and is not reaped yet
  CHECK(changes([](Process& p) { p.cgroup = 0; }) == 1);
  CHECK(changes([](Process& p) { p.state = 'R', p.cpu = 1, p.threads = 2, p.ppid = 1; }) == 0);
}

TEST_CASE("difference: another network namespace is a change") {
  WalkResult before = calm(), after = calm();
  before.processes[1].netns = 6;
  after.processes[1].netns = 7;
  CHECK(compare(before, after).processes.changed.size() == 1);
}

TEST_CASE("difference: cgroups are compared by their paths: each walk numbers them anew") {
  WalkResult before = calm(), after = calm();
  before.cgroups = {"/a", "/b"};
  after.cgroups = {"/b", "/a"};
  before.processes[0].cgroup = 0;
  after.processes[0].cgroup = 1;
  CHECK(nothing(compare(before, after)));
}

TEST_CASE("difference: a socket comes with its owners") {
  WalkResult later = calm();
  later.sockets.push_back(socket(80, 200));
  later.owners.push_back({.socket = 1, .process = 1, .fd = 4});
  const auto difference = compare(calm(), later);
  REQUIRE(difference.sockets.came.size() == 1);
  CHECK(difference.processes.empty());
  CHECK(difference.after.sockets[difference.sockets.came[0]].localPort == 80);
  REQUIRE(difference.after.processes.size() == 1);
  CHECK(difference.after.processes[0].pid == 11);
}

TEST_CASE("difference: another socket at the address of one that was closed is not it") {
  WalkResult later = calm();
  later.sockets[0].inode = 101;
  const auto difference = compare(calm(), later);
  CHECK(difference.sockets.gone.size() == 1);
  CHECK(difference.sockets.came.size() == 1);
  CHECK(difference.sockets.changed.empty());
}

TEST_CASE("difference: an orphan is the socket that it was") {
  WalkResult later = calm();
  later.sockets[0].inode = 0;
  later.sockets[0].unownedReason = UnownedReason::kOrphan;
  later.owners.clear();
  const auto difference = compare(calm(), later);
  REQUIRE(difference.sockets.changed.size() == 1);
  CHECK(difference.before.owners.size() == 1);
  CHECK(difference.after.owners.empty());
}

TEST_CASE("difference: connecting, and another owner, change a socket") {
  WalkResult connected = calm();
  connected.sockets[0].remotePort = 443;
  CHECK(compare(calm(), connected).sockets.changed.size() == 1);
  WalkResult passed = calm();
  passed.owners[0].process = 1;
  CHECK(compare(calm(), passed).sockets.changed.size() == 1);
  WalkResult duplicated = calm();
  duplicated.owners.push_back({.socket = 0, .process = 0, .fd = 4});
  CHECK(compare(calm(), duplicated).sockets.changed.size() == 1);
}

TEST_CASE("difference: the order of the rows does not count") {
  WalkResult before = calm(), after = calm();
  before.owners = {{.socket = 0, .process = 0, .fd = 3}, {.socket = 0, .process = 1, .fd = 3}};
  std::swap(after.processes[0], after.processes[1]);
  after.owners = before.owners;
  CHECK(nothing(compare(before, after)));
}

TEST_CASE("difference: an address that a lying guest shows twice is compared once") {
  WalkResult twice = calm();
  twice.processes.push_back(twice.processes[0]);
  twice.sockets.push_back(twice.sockets[0]);
  CHECK(compare(calm(), twice).processes.came.size() == 1);
  CHECK(compare(twice, calm()).sockets.gone.size() == 1);
  CHECK(compare(twice, calm()).processes.gone.size() == 1);
}
