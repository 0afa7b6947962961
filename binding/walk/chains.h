#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "walk/ahead.h"
#include "walk/context.h"

namespace xfilter {

enum class ChainEnd : uint8_t { kReached, kTorn, kUnmapped };

/// Follows a chain once, as far as its links hold. Back links alone do not keep it from going in circles: an
/// empty `struct list_head`, in memory that was a bucket's, reads as a chain whose only node is its own head,
/// and a longer list as a ring of nodes that confirm each other.
template <class Visit>
ChainEnd followChain(WalkContext& walk, VirtualAddress head, VirtualAddress first, uint64_t bucket,
                     Visit visit) {
  // Added to a listener's bucket (include/net/inet_hashtables.h).
  constexpr uint64_t kListeningNullsBase = 1U << 29;
  const auto& member = *walk.layout().tables;
  VirtualAddress link = head;
  VirtualAddress node = first;
  // Brent: what goes in circles comes back to the node at some power of two.
  VirtualAddress mark = head;
  for (uint64_t steps = 1; node && (node.value & 1) == 0; ++steps) {
    if (!walk.budget.spend()) return ChainEnd::kReached;
    if (node == mark) return ChainEnd::kTorn;
    if ((steps & (steps - 1)) == 0) mark = node;
    GuestObject links(walk.memory, node);
    // In this order: a node that was still in its place afterwards was so when it told its successor.
    const VirtualAddress next = links.pointer(member.next);
    orderReads();
    const VirtualAddress back = links.pointer(member.pprev);
    if (!links.ok() || back != link) {
      walk.memory.refresh(node + member.next.offset, sizeof(uint64_t));
      walk.memory.refresh(link, sizeof(uint64_t));
      return links.ok() ? ChainEnd::kTorn : ChainEnd::kUnmapped;
    }
    visit(node);
    link = node + member.next.offset;
    node = next;
  }
  const uint64_t end = node.value >> 1;
  return node && end != bucket && end != bucket + kListeningNullsBase ? ChainEnd::kTorn : ChainEnd::kReached;
}

/// Visits each node of a hash chain whose head lies at `head` and leads to `first`. The kernel has two kinds,
/// with their links in the same places:
///
///   hlist        ends with NULL
///   hlist_nulls  ends with an odd value, whose upper 63 bits are the number of the bucket: a walk that slid
///   into another
///                chain, because a node moved, ends with another number
///
/// Each node's `pprev` must lead back to the link that led to it. In a guest that runs a chain where that
/// fails is followed again from its head: its nodes may come several times.
template <class Visit>
void forEachChainNode(WalkContext& walk, VirtualAddress head, VirtualAddress first, uint64_t bucket,
                      Visit visit) {
  constexpr int kMaxTries = 16;
  ChainEnd end = followChain(walk, head, first, bucket, visit);
  for (int tries = 1; walk.live() && end != ChainEnd::kReached && tries < kMaxTries; ++tries) {
    ++walk.quality.retries;
    walk.memory.refresh(head, sizeof(uint64_t));
    const auto again = walk.memory.readPointer(head);
    end = again ? followChain(walk, head, *again, bucket, visit) : ChainEnd::kUnmapped;
  }
  if (end == ChainEnd::kTorn) ++walk.quality.torn;
  if (end == ChainEnd::kUnmapped) ++walk.quality.badPointers;
}

/// How many heads, and how many chains, are taken at once: it is the guest who says how many there are.
inline constexpr size_t kChainsAtOnce = 4096;

/// Visits each node of each chain of a hash table: `count` heads, `stride` bytes apart, from `table` on.
template <class Visit>
void forEachTableNode(WalkContext& walk, VirtualAddress table, uint64_t count, uint64_t stride, Visit visit) {
  if (count > walk.roomFor(stride)) {
    ++walk.quality.limited;
    return;
  }
  struct Chain {
    uint64_t bucket;
    VirtualAddress first;
  };
  std::vector<Chain> chains;  // Most are empty: these are not.
  for (uint64_t bucket = 0; bucket < count;) {
    // Heads that lie together in host memory, without a look-up for each.
    if (!walk.budget.spend()) return;
    const auto heads = walk.memory.view(table + bucket * stride);
    if (heads.size() < sizeof(uint64_t)) {
      ++walk.quality.badPointers;
      count = bucket;  // What was found before is walked.
    } else {
      const uint64_t run = 1 + (heads.size() - sizeof(uint64_t)) / stride;
      const uint64_t end = std::min(count, bucket + std::min<uint64_t>(run, kChainsAtOnce));
      for (const std::byte* head = heads.data(); bucket < end; ++bucket, head += stride) {
        uint64_t first = 0;
        std::memcpy(&first, head, sizeof first);
        if (first != 0 && (first & 1) == 0) chains.push_back({bucket, {first}});
      }
    }
    if (bucket < count && chains.size() < kChainsAtOnce) continue;
    forEachAhead(
        walk.memory, chains, [&](const Chain& chain) { walk.memory.prefetch(chain.first); },
        [&](const Chain& chain) {
          forEachChainNode(walk, table + chain.bucket * stride, chain.first, chain.bucket, visit);
        });
    chains.clear();
  }
}

}  // namespace xfilter
