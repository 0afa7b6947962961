#include "walk/net_namespaces.h"

#include "walk/lists.h"

namespace xfilter {

std::vector<VirtualAddress> listNetNamespaces(WalkContext& walk) {
  std::vector<VirtualAddress> namespaces;
  const auto& head = walk.kernel.symbols.net_namespace_list;
  const auto& tables = walk.layout().tables;
  if (!head || !tables) return namespaces;
  // A struct net takes several KiB.
  const size_t most = walk.roomFor(kPageSize);
  forEachListNode(walk, *head, [&](VirtualAddress node) {
    if (namespaces.size() < most) {
      namespaces.push_back(node - tables->net.offset);
    } else {
      ++walk.quality.limited;
    }
  });
  return namespaces;
}

}  // namespace xfilter
