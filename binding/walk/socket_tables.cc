#include "walk/socket_tables.h"

#include <vector>

#include "walk/chains.h"

namespace xfilter {
namespace {

constexpr uint64_t kPointer = sizeof(uint64_t);
constexpr uint64_t kListeningHashSize = 32;  // INET_LHTABLE_SIZE

using Visit = std::function<void(VirtualAddress)>;

/// The different tables that the namespaces use: mostly one and the same, since 6.1 also some of their own.
std::vector<VirtualAddress> tablesOf(WalkContext& walk, std::span<const VirtualAddress> namespaces,
                                     const std::optional<Field>& inNet, const Symbols::Address& global) {
  std::vector<VirtualAddress> tables;
  AddressIndex known;
  const auto add = [&](VirtualAddress table) {
    if (table && known.insert(table, 0).second) tables.push_back(table);
  };
  if (inNet) {
    for (const VirtualAddress net : namespaces) {
      if (const auto table = walk.memory.readPointer(net + inNet->offset)) {
        add(*table);
      } else {
        ++walk.quality.badPointers;
      }
    }
  }
  if (global) add(*global);
  return tables;
}

class TcpTableWalk {
 public:
  TcpTableWalk(WalkContext& walk, const Visit& visit)
      : walk_(walk), tables_(*walk.layout().tables), member_(*walk.layout().tcp), visit_(visit) {}

  void walkAll(VirtualAddress address) {
    GuestObject info(walk_.memory, address);
    const VirtualAddress ehash = info.pointer(member_.ehash);
    const uint64_t ehashMask = info.integer(member_.ehash_mask);
    const VirtualAddress bhash = info.pointer(member_.bhash);
    const uint64_t bhashSize = info.integer(member_.bhash_size);
    if (!info.ok()) {
      ++walk_.quality.badPointers;
      return;
    }
    // struct inet_ehash_bucket is its chain and nothing else.
    forEachTableNode(walk_, ehash, ehashMask + 1, kPointer,
                     [this](VirtualAddress node) { visit_(node - tables_.node.offset); });
    walkListeners(info);
    forEachTableNode(walk_, bhash + member_.bind_chain.offset, bhashSize, member_.bind_bucket,
                     [this](VirtualAddress node) { walkBucket(node - member_.bind_node.offset); });
    visitOwners();
  }

 private:
  void walkListeners(GuestObject& info) {
    const auto visitNode = [this](VirtualAddress node) { visit_(node - tables_.node.offset); };
    if (member_.listening_hash) {
      const VirtualAddress table =
          info.address() + member_.listening_hash->offset + member_.listen_head.offset;
      forEachTableNode(walk_, table, kListeningHashSize, member_.listen_bucket, visitNode);
    } else if (member_.lhash2 && member_.lhash2_mask) {
      const VirtualAddress table = info.pointer(*member_.lhash2) + member_.listen_head.offset;
      forEachTableNode(walk_, table, info.integer(*member_.lhash2_mask) + 1, member_.listen_bucket,
                       visitNode);
    }
  }

  // All socks that are bound to one port: a list in the bucket, or since 6.8 one in each of its address
  // buckets.
  void walkBucket(VirtualAddress bucket) {
    if (member_.owners) {
      walkOwners(bucket + member_.owners->offset);
    } else if (member_.bhash2 && member_.bhash_node && member_.owners2) {
      walkChain(bucket + member_.bhash2->offset, [this](VirtualAddress node) {
        walkOwners(node - member_.bhash_node->offset + member_.owners2->offset);
      });
    }
  }

  void walkOwners(VirtualAddress head) {
    if (const auto first = readHead(head); first) owners_.push_back({head, first});
    if (owners_.size() == kChainsAtOnce) visitOwners();
  }

  void visitOwners() {
    forEachAhead(
        walk_.memory, owners_, [this](const Owners& owners) { walk_.memory.prefetch(owners.first); },
        [this](const Owners& owners) {
          forEachChainNode(walk_, owners.head, owners.first, 0,
                           [this](VirtualAddress node) { visit_(node - tables_.bind_node.offset); });
        });
    owners_.clear();
  }

  template <class VisitNode>
  void walkChain(VirtualAddress head, VisitNode visitNode) {
    forEachChainNode(walk_, head, readHead(head), 0, visitNode);
  }

  VirtualAddress readHead(VirtualAddress head) {
    const auto first = walk_.memory.readPointer(head);
    if (!first) ++walk_.quality.badPointers;
    return first.value_or(VirtualAddress{});
  }

  /// The chain of the socks that are bound to a port.
  struct Owners {
    VirtualAddress head, first;
  };

  WalkContext& walk_;
  const Layout::SocketTables& tables_;
  const Layout::TcpTables& member_;
  const Visit& visit_;
  std::vector<Owners> owners_;
};

void walkUdp(WalkContext& walk, VirtualAddress address, const Visit& visit) {
  const auto& member = *walk.layout().udp;
  GuestObject table(walk.memory, address);
  const VirtualAddress hash = table.pointer(member.hash) + member.head.offset;
  const uint64_t mask = table.integer(member.mask);
  if (!table.ok()) {
    ++walk.quality.badPointers;
    return;
  }
  const uint64_t node = walk.layout().tables->node.offset;
  forEachTableNode(walk, hash, mask + 1, member.slot, [&](VirtualAddress at) { visit(at - node); });
}

// Tables that lie in a variable of the kernel as a whole.
void walkFixed(WalkContext& walk, const Symbols::Address& table, const std::optional<Field>& heads,
               const Visit& visit) {
  if (!table || !heads) return;
  const uint64_t node = walk.layout().tables->node.offset;
  forEachTableNode(walk, *table + heads->offset, heads->elements, kPointer,
                   [&](VirtualAddress at) { visit(at - node); });
}

}  // namespace

void forEachTableSock(WalkContext& walk, std::span<const VirtualAddress> namespaces, const Visit& visit) {
  const Layout& layout = walk.layout();
  const Symbols& symbols = walk.kernel.symbols;
  if (!layout.tables) return;
  if (layout.tcp) {
    TcpTableWalk tcp(walk, visit);
    for (const auto table : tablesOf(walk, namespaces, layout.tables->hashinfo, symbols.tcp_hashinfo)) {
      tcp.walkAll(table);
    }
  }
  if (layout.udp) {
    for (const auto table : tablesOf(walk, namespaces, layout.tables->udp_table, symbols.udp_table)) {
      walkUdp(walk, table, visit);
    }
    if (symbols.udplite_table) walkUdp(walk, *symbols.udplite_table, visit);
  }
  walkFixed(walk, symbols.raw_v4_hashinfo, layout.raw_table, visit);
  walkFixed(walk, symbols.raw_v6_hashinfo, layout.raw_table, visit);
  walkFixed(walk, symbols.ping_table, layout.ping_table, visit);
}

}  // namespace xfilter
