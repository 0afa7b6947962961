#include "walk/unheld_files.h"

#include "doctest/doctest.h"
#include "fake_kernel.h"

using namespace xfilter;
using namespace xfilter::test;

namespace {

constexpr VirtualAddress kObjects{0xffff'8883'0000'0000};

/// The files of an io_uring instance, as 5.15 to 6.12 keep them: a table of pointers with flags in them.
class Ring : public FakeKernel {
 public:
  Ring() { guest.reserve(kObjects, kPageSize); }

  /// Files of instances whose `files` is a table of `count` entries.
  VirtualAddress addRing(uint64_t count, VirtualAddress table = kTable) {
    const VirtualAddress file = kObjects + used_, context = file + 64;
    used_ += 128;
    guest.write(file + 8, context);  // private_data
    guest.write(context, table);
    guest.write(context + 8, count);
    if (table == kTable && count <= kLargest) guest.reserve(table, count * 8);
    return file;
  }
  void setFile(uint64_t i, VirtualAddress file) {
    guest.reserve(kTable + i * 8, 8);
    guest.write(kTable + i * 8, file.value | 1);
  }

  struct Result {
    UnownedReason reason;
    Quality quality;
  };
  Result reasonOf(VirtualAddress file, const std::vector<VirtualAddress>& rings) {
    Kernel found = kernel();
    found.layout.ioUring.files = Field{.offset = 0, .size = 8};
    found.layout.ioUring.nr_user_files = Field{.offset = 8, .size = 8};
    WalkContext walk{found, KernelMemory(found.space), Budget({}, std::chrono::minutes(1))};
    UnheldFiles files(walk, {}, rings);
    const UnownedReason reason = files.reasonOf(file);
    return {reason, walk.quality};
  }

  static constexpr VirtualAddress kTable = kObjects + kPageSize;
  static constexpr uint64_t kLargest = 1 << 20;  // IORING_MAX_FIXED_FILES

 private:
  uint64_t used_ = 0;
};

/// UNIX sockets in the hash tables of network namespaces, as 6.0 and later keep them.
class UnixSockets : public FakeKernel {
 public:
  UnixSockets() {
    guest.reserve(kTables, kPageSize * 2);
    guest.reserve(kObjects, kPageSize * 64);
  }

  /// A socket at the head of the first chain of the table, with an empty queue.
  VirtualAddress addSocket() {
    const VirtualAddress sock = allocate(), at = sock + node();
    const VirtualAddress next{guest.read(kTables)};
    link(at, next, kTables);
    if (next) guest.write(next + 8, at);
    guest.write(kTables, at);
    link(sock + kQueue, sock + kQueue, sock + kQueue);
    return sock;
  }
  /// The only message of a socket, which carries one file; `list` is where its struct scm_fp_list lies.
  void send(VirtualAddress sock, VirtualAddress file, VirtualAddress list) {
    const VirtualAddress skb = allocate();
    link(sock + kQueue, skb, skb);
    link(skb, sock + kQueue, sock + kQueue);
    guest.write(skb + 16, list);
    if (guest.at(list).empty()) return;
    guest.write(list, uint64_t{1});
    guest.write(list + 8, file);
  }
  VirtualAddress allocate() {
    used_ += 256;
    return kObjects + used_ - 256;
  }
  /// A namespace whose table begins so many bytes before the one that the sockets are in.
  VirtualAddress addNamespace(uint64_t before) {
    const VirtualAddress net = allocate();
    guest.write(net + 8, kTables - before);
    return net;
  }

  std::pair<UnownedReason, Quality> reasonOf(VirtualAddress file,
                                             const std::vector<VirtualAddress>& namespaces) {
    Kernel found = kernel();
    const auto field = [](uint32_t offset, uint32_t size) { return Field{.offset = offset, .size = size}; };
    found.layout.inFlight = Layout::InFlight{field(8, 8), field(kQueue, 16), field(0, 16),     field(16, 48),
                                             field(0, 8), field(0, 2),       field(8, 8 * 253)};
    found.layout.inFlight->files.elements = 253;
    WalkContext walk{found, KernelMemory(found.space), Budget({}, std::chrono::minutes(1))};
    UnheldFiles files(walk, namespaces, {});
    return {files.reasonOf(file), walk.quality};
  }

 private:
  static constexpr VirtualAddress kTables{0xffff'8883'8000'0800};
  static constexpr uint32_t kQueue = 16;
  uint64_t node() const { return kernel().layout.tables->node.offset; }
  uint64_t used_ = 0;
};

/// How many objects of that size the guest's memory has room for.
uint64_t roomFor(FakeKernel& kernel, uint64_t size) {
  uint64_t bytes = 0;
  for (const MemoryRange& range : kernel.guest.memory().ranges()) bytes += range.size;
  return bytes / size;
}

constexpr VirtualAddress kFile{0xffff'8884'0000'0100};

}  // namespace

TEST_CASE("unheld files: a registered file of an io_uring instance is told, and another is not") {
  Ring kernel;
  const auto ring = kernel.addRing(4);
  kernel.setFile(3, kFile);
  CHECK(kernel.reasonOf(kFile, {ring}).reason == UnownedReason::kIoUring);
  CHECK(kernel.reasonOf(kFile + 256, {ring}).reason == UnownedReason::kUnknown);
}

TEST_CASE("unheld files: an instance that many threads have registered is looked through once") {
  Ring kernel;
  const auto ring = kernel.addRing(4, {0xffff'c900'dead'b000});
  const auto result = kernel.reasonOf(kFile, std::vector<VirtualAddress>(1000, ring));
  CHECK(result.quality.badPointers == 1);
}

TEST_CASE("unheld files: an instance that claims more files than it may have is not looked through") {
  Ring kernel;
  const auto result = kernel.reasonOf(kFile, {kernel.addRing(~uint64_t{0})});
  CHECK(result.reason == UnownedReason::kUnknown);
  CHECK(result.quality.limited == 1);
}

TEST_CASE(
    "unheld files: instances share no table in earnest: what has no room in the guest's memory is left out") {
  Ring kernel;
  const auto ring = kernel.addRing(Ring::kLargest / 8);
  kernel.setFile(3, kFile);
  std::vector<VirtualAddress> rings = {ring};
  while (rings.size() <= roomFor(kernel, 8) / (Ring::kLargest / 8)) rings.push_back(ring);
  CHECK(kernel.reasonOf(kFile, rings).quality.limited == 0);
  for (auto& one : rings) one = kernel.addRing(Ring::kLargest / 8);
  const auto result = kernel.reasonOf(kFile, rings);
  CHECK(result.quality.limited == 1);
  CHECK(result.reason == UnownedReason::kIoUring);
}

TEST_CASE("unheld files: of more files than the guest's memory has room for, the first are kept") {
  Ring kernel;
  const uint64_t count = roomFor(kernel, 64);
  const auto ring = kernel.addRing(count);
  for (uint64_t i = 0; i < count; ++i) kernel.setFile(i, kFile + i * 256);
  const auto result = kernel.reasonOf(kFile, {ring});
  CHECK(result.reason == UnownedReason::kIoUring);
  CHECK(result.quality.limited == 1);
  CHECK(kernel.reasonOf(kFile + (count - 1) * 256, {ring}).reason == UnownedReason::kUnknown);
}

TEST_CASE("unheld files: a file inside a message of a UNIX socket is told") {
  UnixSockets kernel;
  kernel.addSocket();
  kernel.send(kernel.addSocket(), kFile, kernel.allocate());
  const auto [reason, quality] = kernel.reasonOf(kFile, {kernel.addNamespace(0)});
  CHECK(reason == UnownedReason::kInFlight);
  CHECK(quality.torn + quality.badPointers + quality.limited == 0);
}

TEST_CASE("unheld files: a table that several namespaces have is looked through once") {
  UnixSockets kernel;
  kernel.send(kernel.addSocket(), kFile, {0xffff'c900'dead'b000});
  std::vector<VirtualAddress> namespaces;
  for (int i = 0; i < 10; ++i) namespaces.push_back(kernel.addNamespace(0));
  CHECK(kernel.reasonOf(kFile, namespaces).second.badPointers == 1);
}

TEST_CASE("unheld files: made-up tables in the same memory cost no more than it has room for") {
  UnixSockets kernel;
  kernel.send(kernel.addSocket(), kFile, kernel.allocate());
  for (int i = 0; i < 500; ++i) kernel.addSocket();
  // Each of these has the chain in another bucket.
  std::vector<VirtualAddress> namespaces;
  while (500 * namespaces.size() <= roomFor(kernel, 512)) {
    namespaces.push_back(kernel.addNamespace(8 * namespaces.size()));
  }
  const auto [reason, quality] = kernel.reasonOf(kFile, namespaces);
  CHECK(reason == UnownedReason::kInFlight);
  CHECK(quality.limited == 1);
}
