#include "walk/lists.h"

#include "doctest/doctest.h"
#include "fake_memory.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

/// Lists whose links change when the walk comes to a node. Nodes are called by letters.
class Lists {
 public:
  Lists() { guest.reserve(kNodes, 2 * kPageSize); }

  /// Makes the nodes one circular list.
  void link(std::string_view ring) {
    for (size_t i = 0; i < ring.size(); ++i) lead(ring[i], ring[(i + 1) % ring.size()]);
  }
  /// Both links between two neighbours.
  void lead(char from, char to) {
    guest.write(at(from), at(to));
    guest.write(at(to) + 8, at(from));
  }
  void setNext(char from, char to) { guest.write(at(from), at(to)); }

  /// The nodes of the list of `head`, where `onNode` is what the guest does when the walk has come to a node.
  std::string follow(char head, const std::function<void(char)>& onNode) {
    const auto identity = [&](VirtualAddress node) {
      ++visits;
      onNode(nameOf(node));
      return uint64_t{1};
    };
    std::string found;
    for (const LiveNode& node : followLiveList(walk_, at(head), identity)) found += nameOf(node.address);
    return found;
  }

  const Quality& quality() const { return walk_.quality; }

  FakeGuest guest;
  int visits = 0;

 private:
  static constexpr VirtualAddress kNodes{0xffff'8880'0000'0000};
  static VirtualAddress at(char name) { return kNodes + static_cast<uint64_t>(name) * 64; }
  static char nameOf(VirtualAddress node) { return static_cast<char>((node.value - kNodes.value) / 64); }

  Kernel kernel() const {
    Kernel found{.space = guest.space()};
    found.layout.list_head = {Field{.offset = 0, .size = 8}, Field{.offset = 8, .size = 8}};
    return found;
  }

  Kernel kernel_ = kernel();
  WalkContext walk_{kernel_, KernelMemory(kernel_.space), Budget({}, std::chrono::minutes(1))};
};

}  // namespace

TEST_CASE("lists: a node that is freed and used in another list does not lead the walk around in that one") {
  Lists lists;
  lists.link("Habcd");
  lists.link("Gxyz");
  const auto reuse = [&] {
    lists.lead('a', 'c');
    lists.link("Gxyzb");
  };
  SUBCASE("once") {
    lists.follow('H', [&](char) {});
    CHECK(lists.quality().retries == 0);
    bool done = false;
    CHECK(lists.follow('H', [&](char node) {
      if (node == 'b' && !done) reuse(), done = true;
    }) == "acd");
    CHECK(lists.quality().torn == 0);
    CHECK(lists.quality().retries == 1);
  }
  SUBCASE("again each time, to keep the walk there: the rest comes from the other end") {
    CHECK(lists.follow('H', [&](char node) {
      if (node == 'a') lists.link("Habcd"), lists.link("Gxyz");
      if (node == 'b') reuse();
    }) == "dca");
    CHECK(lists.quality().torn == 1);
  }
  CHECK(lists.quality().limited == 0);
  CHECK(lists.visits < 200);
}

TEST_CASE("lists: from the other end, too, each node comes once") {
  Lists lists;
  lists.link("Habcdefgh");
  lists.setNext('b', 'e');
  SUBCASE("when the one at which the walk got stuck is gone by then") {
    CHECK(lists.follow('H', [&](char node) {
      if (node == 'h') lists.lead('a', 'c'), lists.lead('c', 'd');
    }) == "abhgfedc");
  }
  SUBCASE("when they lead around there") {
    CHECK(lists.follow('H', [&](char node) {
      if (node == 'f') lists.lead('h', 'f');
    }) == "abhgf");
  }
  CHECK(lists.quality().torn == 1);
  CHECK(lists.quality().limited == 0);
}
