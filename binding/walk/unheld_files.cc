#include "walk/unheld_files.h"

#include <algorithm>

#include "walk/chains.h"
#include "walk/lists.h"

namespace xfilter {
namespace {

constexpr uint64_t kPointer = sizeof(uint64_t);
// 2 * UNIX_HASH_SIZE (net/unix/af_unix.c): sockets with a name, then those without.
constexpr uint64_t kUnixBuckets = 512;
constexpr uint64_t kMaxFixedFiles = 1 << 20;  // IORING_MAX_FIXED_FILES (io_uring/rsrc.h)
constexpr uint64_t kFixedFileFlags = 7;       // kept in a fixed file's lower bits
// A struct unix_sock takes more, and so does a message with its data.
constexpr uint64_t kMinObject = 512;
constexpr uint64_t kMinFile = 128;
constexpr size_t kMaxFiles = 2 << 20;  // far above what guests have in earnest

}  // namespace

UnheldFiles::UnheldFiles(WalkContext& walk, std::span<const VirtualAddress> namespaces,
                         std::span<const VirtualAddress> rings)
    : walk_(walk),
      objectsLeft_(walk.roomFor(kMinObject)),
      slotsLeft_(walk.roomFor(kPointer)),
      filesLeft_(std::min(walk.roomFor(kMinFile), kMaxFiles)) {
  if (walk.layout().inFlight && walk.layout().tables) searchUnixSockets(namespaces);
  // Every thread may have registered the same instance, which an unprivileged user can make large.
  AddressIndex known;
  for (const VirtualAddress ring : rings) {
    if (known.insert(ring, 0).second) searchRing(ring);
  }
}

UnownedReason UnheldFiles::reasonOf(VirtualAddress file) {
  return static_cast<UnownedReason>(
      *reasons_.insert(file, static_cast<uint32_t>(UnownedReason::kUnknown)).first);
}

void UnheldFiles::add(VirtualAddress file, UnownedReason reason) {
  if (file && !reasons_.contains(file) && take(filesLeft_))
    reasons_.insert(file, static_cast<uint32_t>(reason));
}

// Of made-up tables, queues and instances there may be any number, all of the same memory: they cost what the
// guest's memory has room for, and are then left out.
bool UnheldFiles::take(size_t& left, uint64_t count) {
  if (count <= left) {
    left -= count;
    return true;
  }
  if (!limited_) ++walk_.quality.limited;
  limited_ = true;
  return false;
}

// Every UNIX socket is in the table, also one that is itself in flight: what its messages carry is found too.
void UnheldFiles::searchUnixSockets(std::span<const VirtualAddress> namespaces) {
  const auto& buckets = walk_.layout().inFlight->buckets;
  if (!buckets) {
    if (walk_.kernel.symbols.unix_socket_table) searchTable(*walk_.kernel.symbols.unix_socket_table);
    return;
  }
  for (const VirtualAddress net : namespaces) {
    if (const auto table = walk_.memory.readPointer(net + buckets->offset)) {
      searchTable(*table);
    } else {
      ++walk_.quality.badPointers;
    }
  }
}

void UnheldFiles::searchTable(VirtualAddress table) {
  if (limited_ || !tables_.insert(table, 0).second) return;
  const uint64_t node = walk_.layout().tables->node.offset;
  forEachTableNode(walk_, table, kUnixBuckets, kPointer, [&](VirtualAddress at) {
    if (take(objectsLeft_)) searchQueue(at - node);
  });
}

// struct sk_buff_head begins as a struct list_head does, and a struct sk_buff with its `list`.
void UnheldFiles::searchQueue(VirtualAddress sock) {
  const auto& member = *walk_.layout().inFlight;
  forEachListNode(walk_, sock + member.receive_queue.offset, [&](VirtualAddress node) {
    if (take(objectsLeft_)) searchMessage(node - member.skb_list.offset);
  });
}

void UnheldFiles::searchMessage(VirtualAddress skb) {
  const auto& member = *walk_.layout().inFlight;
  const auto list = walk_.memory.readPointer(skb + member.skb_cb.offset + member.fp.offset);
  if (!list || !*list) return;
  GuestObject files(walk_.memory, *list);
  const uint64_t count = files.integer(member.count);
  if (!files.ok() || count > member.files.elements) {
    ++(files.ok() ? walk_.quality.limited : walk_.quality.badPointers);
    return;
  }
  if (!take(slotsLeft_, count)) return;
  for (uint64_t i = 0; i < count; ++i) {
    add({files.integer(member.files.offset + i * kPointer, kPointer)}, UnownedReason::kInFlight);
  }
  if (!files.ok()) ++walk_.quality.badPointers;
}

void UnheldFiles::searchRing(VirtualAddress file) {
  const auto& member = walk_.layout().ioUring;
  GuestObject ringFile(walk_.memory, file);
  GuestObject context(walk_.memory, ringFile.pointer(walk_.layout().file.private_data));
  const bool hasNodes = member.nodes && member.nr && member.node_file;
  if (!hasNodes && !(member.files && member.nr_user_files)) return;
  const VirtualAddress table = context.pointer(hasNodes ? *member.nodes : *member.files);
  const uint64_t count = context.integer(hasNodes ? *member.nr : *member.nr_user_files);
  if (!ringFile.ok() || !context.ok() || count > kMaxFixedFiles) {
    ++(count > kMaxFixedFiles ? walk_.quality.limited : walk_.quality.badPointers);
    return;
  }
  if (!take(slotsLeft_, count)) return;
  for (uint64_t i = 0; i < count && walk_.budget.spend(); ++i) {
    auto entry = walk_.memory.readPointer(table + i * kPointer);
    if (entry && *entry && hasNodes) entry = walk_.memory.readPointer(*entry + member.node_file->offset);
    if (!entry) {
      ++walk_.quality.badPointers;
      return;
    }
    add({entry->value & ~kFixedFileFlags}, UnownedReason::kIoUring);
  }
}

}  // namespace xfilter
