#include "snapshot/difference.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

#include "walk/address_index.h"

namespace xfilter {
namespace {

constexpr uint32_t kNoRow = ~uint32_t{0};

/// The first owner of each socket, and the end behind the last: owners come in the order of their sockets.
std::vector<size_t> firstOwners(const WalkResult& walk) {
  std::vector<size_t> first(walk.sockets.size() + 1);
  for (size_t row = 0, owner = 0; row <= walk.sockets.size(); ++row) {
    while (owner < walk.owners.size() && walk.owners[owner].socket < row) ++owner;
    first[row] = owner;
  }
  return first;
}

/// Rows of a walk, copied into a walk of their own as they are asked for.
class Extract {
 public:
  explicit Extract(const WalkResult& walk)
      : walk_(walk), firstOwner_(firstOwners(walk)), rows_(walk.processes.size(), kNoRow) {}

  uint32_t process(uint32_t row) {
    uint32_t& copied = rows_[row];
    if (copied == kNoRow) {
      copied = static_cast<uint32_t>(extract_.processes.size());
      extract_.processes.push_back(walk_.processes[row]);
    }
    return copied;
  }

  uint32_t socket(uint32_t row) {
    const auto copied = static_cast<uint32_t>(extract_.sockets.size());
    extract_.sockets.push_back(walk_.sockets[row]);
    for (size_t i = firstOwner_[row]; i < firstOwner_[row + 1]; ++i) {
      const Owner& owner = walk_.owners[i];
      extract_.owners.push_back({.socket = copied, .process = process(owner.process), .fd = owner.fd});
    }
    return copied;
  }

  std::span<const Owner> owners(uint32_t row) const {
    return std::span(walk_.owners).subspan(firstOwner_[row], firstOwner_[row + 1] - firstOwner_[row]);
  }

  WalkResult take() {
    if (!extract_.processes.empty()) extract_.cgroups = walk_.cgroups;
    extract_.quality = walk_.quality;
    return std::move(extract_);
  }

 private:
  const WalkResult& walk_;
  std::vector<size_t> firstOwner_;
  std::vector<uint32_t> rows_;  // of `extract_`, by those of `walk_`
  WalkResult extract_;
};

/// For each row of `before` the row of `after` that is the same thing, or kNoRow.
template <class Row, class Address, class Same>
std::vector<uint32_t> matchRows(const std::vector<Row>& before, const std::vector<Row>& after,
                                Address address, Same same) {
  AddressIndex rows;
  for (uint32_t row = 0; row < after.size(); ++row) rows.insert(address(after[row]), row);
  std::vector<uint32_t> match(before.size(), kNoRow);
  std::vector<bool> taken(after.size());  // a guest that lies may show one address twice
  for (uint32_t row = 0; row < before.size(); ++row) {
    const auto [found, isNew] = rows.insert(address(before[row]), kNoRow);
    if (isNew || *found == kNoRow || taken[*found] || !same(before[row], after[*found])) continue;
    taken[*found] = true;
    match[row] = *found;
  }
  return match;
}

bool sameProcess(const Process& a, const Process& b) { return a.pid == b.pid && a.startTime == b.startTime; }

auto tuple(const Socket& socket) {
  return std::tie(socket.localAddress, socket.localPort, socket.remoteAddress, socket.remotePort);
}

bool sameSocket(const Socket& a, const Socket& b) {
  if (a.protocol != b.protocol || a.family != b.family || a.netns != b.netns) return false;
  return a.inode != 0 && b.inode != 0 ? a.inode == b.inode : tuple(a) == tuple(b);
}

class Comparison {
 public:
  Comparison(const WalkResult& before, const WalkResult& after)
      : before_(before),
        after_(after),
        old_(before),
        new_(after),
        processes_(matchRows(
            before.processes, after.processes, [](const Process& p) { return p.task; }, sameProcess)) {}

  Difference take() {
    const auto sockets = matchRows(
        before_.sockets, after_.sockets, [](const Socket& s) { return s.sock; }, sameSocket);
    Difference difference;
    difference.processes = rows(
        processes_, after_.processes.size(),
        [this](uint32_t a, uint32_t b) { return changed(before_.processes[a], after_.processes[b]); },
        [this](uint32_t row) { return old_.process(row); },
        [this](uint32_t row) { return new_.process(row); });
    difference.sockets = rows(
        sockets, after_.sockets.size(),
        [this](uint32_t a, uint32_t b) {
          return changed(before_.sockets[a], after_.sockets[b]) || ownersChanged(a, b);
        },
        [this](uint32_t row) { return old_.socket(row); }, [this](uint32_t row) { return new_.socket(row); });
    difference.before = old_.take();
    difference.after = new_.take();
    return difference;
  }

 private:
  template <class Changed, class Old, class New>
  static Difference::Rows rows(const std::vector<uint32_t>& match, size_t after, Changed isChanged, Old old,
                               New fresh) {
    Difference::Rows found;
    std::vector<bool> known(after);
    for (uint32_t row = 0; row < match.size(); ++row) {
      if (match[row] == kNoRow) {
        found.gone.push_back(old(row));
        continue;
      }
      known[match[row]] = true;
      if (isChanged(row, match[row])) found.changed.push_back({old(row), fresh(match[row])});
    }
    for (uint32_t row = 0; row < after; ++row) {
      if (!known[row]) found.came.push_back(fresh(row));
    }
    return found;
  }

  static auto credentials(const Process& p) {
    return std::tie(p.uid, p.gid, p.euid, p.egid, p.suid, p.sgid, p.fsuid, p.fsgid, p.loginuid);
  }

  // A process that ends leaves its namespaces first.
  static bool netnsChanged(const Process& a, const Process& b) {
    return a.netns != 0 && b.netns != 0 && a.netns != b.netns;
  }

  bool changed(const Process& a, const Process& b) const {
    const auto name = [](const Process& p) { return std::string_view(p.comm.data(), p.commSize); };
    const auto cgroup = [](const Process& p, const WalkResult& walk) {
      return p.cgroup == kNoId ? std::string_view() : std::string_view(walk.cgroups[p.cgroup]);
    };
    return credentials(a) != credentials(b) || name(a) != name(b) || netnsChanged(a, b) ||
           cgroup(a, before_) != cgroup(b, after_);
  }

  static bool changed(const Socket& a, const Socket& b) {
    const auto said = [](const Socket& s) {
      return std::tuple(tuple(s),
                        std::tie(s.uid, s.state, s.boundInterface, s.unownedReason, s.dualStack, s.mptcp));
    };
    return said(a) != said(b);
  }

  bool ownersChanged(uint32_t a, uint32_t b) const {
    using Holder = std::pair<uint32_t, uint32_t>;  // a row of `after_`, a descriptor
    const auto before = old_.owners(a);
    const auto after = new_.owners(b);
    if (before.size() != after.size()) return true;
    std::vector<Holder> was, is;
    for (const Owner& owner : before) was.emplace_back(processes_[owner.process], owner.fd);
    for (const Owner& owner : after) is.emplace_back(owner.process, owner.fd);
    if (was == is) return false;
    // A process may have come to another place of the list.
    std::sort(was.begin(), was.end());
    std::sort(is.begin(), is.end());
    return was != is;
  }

  const WalkResult& before_;
  const WalkResult& after_;
  Extract old_, new_;
  std::vector<uint32_t> processes_;
};

}  // namespace

Difference compare(const WalkResult& before, const WalkResult& after) {
  return Comparison(before, after).take();
}

DifferenceColumns makeColumns(Difference difference) {
  return {
      .before = makeSnapshot(difference.before),
      .after = makeSnapshot(difference.after),
      .processes = std::move(difference.processes),
      .sockets = std::move(difference.sockets),
  };
}

}  // namespace xfilter
