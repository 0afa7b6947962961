#include "snapshot/snapshot.h"

#include <algorithm>

namespace xfilter {
namespace {

constexpr uint8_t kFlagKernelThread = 1;

constexpr uint8_t kFlagInitial = 1;
constexpr uint8_t kFlagInitialUnknown = 2;
constexpr uint8_t kFlagDevicesUnknown = 4;

constexpr uint8_t kFlagMac = 1;
constexpr uint8_t kFlagPhysical = 2;
constexpr uint8_t kFlagPhysicalUnknown = 4;

constexpr uint8_t kFlagDualStack = 1;
constexpr uint8_t kFlagMptcp = 2;
constexpr uint8_t kFlagLocalIsIpv4 = 4;
constexpr uint8_t kFlagRemoteIsIpv4 = 8;

template <class Row, class Value>
std::vector<Value> column(const std::vector<Row>& rows, Value Row::*member) {
  std::vector<Value> values(rows.size());
  std::transform(rows.begin(), rows.end(), values.begin(), [member](const Row& row) { return row.*member; });
  return values;
}

template <class Value, class Row, class Get>
std::vector<Value> column(const std::vector<Row>& rows, Get get) {
  std::vector<Value> values(rows.size());
  std::transform(rows.begin(), rows.end(), values.begin(), get);
  return values;
}

std::vector<uint8_t> addresses(const std::vector<Socket>& rows, std::array<uint8_t, 16> Socket::*member) {
  std::vector<uint8_t> bytes;
  bytes.reserve(rows.size() * 16);
  for (const Socket& row : rows) bytes.insert(bytes.end(), (row.*member).begin(), (row.*member).end());
  return bytes;
}

Snapshot::Processes processColumns(const WalkResult& walk, StringTable& strings) {
  const auto& rows = walk.processes;
  const auto optionalString = [&](const std::optional<std::string>& text) {
    return text ? strings.add(*text) : kNoId;
  };
  return {
      .task = column<uint64_t>(rows, [](const Process& p) { return p.task.value; }),
      .startTime = column(rows, &Process::startTime),
      .pid = column(rows, &Process::pid),
      .ppid = column(rows, &Process::ppid),
      .uid = column(rows, &Process::uid),
      .euid = column(rows, &Process::euid),
      .suid = column(rows, &Process::suid),
      .fsuid = column(rows, &Process::fsuid),
      .gid = column(rows, &Process::gid),
      .egid = column(rows, &Process::egid),
      .sgid = column(rows, &Process::sgid),
      .fsgid = column(rows, &Process::fsgid),
      .loginuid = column(rows, &Process::loginuid),
      .session = column(rows, &Process::session),
      .sessionid = column(rows, &Process::sessionid),
      .nspid = column(rows, &Process::nspid),
      .netns = column(rows, &Process::netns),
      .pidns = column(rows, &Process::pidns),
      .threads = column(rows, &Process::threads),
      .comm = column<uint32_t>(rows,
                               [&](const Process& p) {
                                 return strings.add({p.comm.data(), p.commSize});
                               }),
      .cpu = column(rows, &Process::cpu),
      .state = column<uint8_t>(rows, [](const Process& p) { return static_cast<uint8_t>(p.state); }),
      .flags = column<uint8_t>(rows, [](const Process& p) { return p.kernelThread ? kFlagKernelThread : 0; }),
      .cgroup = column<uint32_t>(
          rows,
          [&](const Process& p) { return p.cgroup == kNoId ? kNoId : strings.add(walk.cgroups[p.cgroup]); }),
      .exe = column<uint32_t>(walk.details, [&](const ProcessDetails& d) { return optionalString(d.exe); }),
      .args = column<uint32_t>(walk.details, [&](const ProcessDetails& d) { return optionalString(d.args); }),
      .argsAbsent =
          column<uint8_t>(walk.details, [](const ProcessDetails& d) { return d.argsAbsent ? 1 : 0; }),
  };
}

uint8_t socketFlags(const Socket& socket) {
  return static_cast<uint8_t>((socket.dualStack ? kFlagDualStack : 0) | (socket.mptcp ? kFlagMptcp : 0) |
                              (socket.localIsIpv4 ? kFlagLocalIsIpv4 : 0) |
                              (socket.remoteIsIpv4 ? kFlagRemoteIsIpv4 : 0));
}

// The owners come sorted by socket: each socket's are a run, and its end says where the next begins.
std::vector<uint32_t> ownersEnds(size_t sockets, const std::vector<Owner>& owners) {
  std::vector<uint32_t> ends(sockets);
  uint32_t end = 0;
  for (size_t row = 0; row < sockets; ++row) {
    while (end < owners.size() && owners[end].socket == row) ++end;
    ends[row] = end;
  }
  return ends;
}

Snapshot::Sockets socketColumns(const std::vector<Socket>& rows, const std::vector<Owner>& owners) {
  return {
      .sock = column<uint64_t>(rows, [](const Socket& s) { return s.sock.value; }),
      .inode = column<double>(rows, [](const Socket& s) { return static_cast<double>(s.inode); }),
      .uid = column(rows, &Socket::uid),
      .netns = column(rows, &Socket::netns),
      .boundInterface = column(rows, &Socket::boundInterface),
      .ownersEnd = ownersEnds(rows.size(), owners),
      .localAddress = addresses(rows, &Socket::localAddress),
      .remoteAddress = addresses(rows, &Socket::remoteAddress),
      .localPort = column(rows, &Socket::localPort),
      .remotePort = column(rows, &Socket::remotePort),
      .protocol = column<uint8_t>(rows, [](const Socket& s) { return static_cast<uint8_t>(s.protocol); }),
      .family = column(rows, &Socket::family),
      .state = column(rows, &Socket::state),
      .flags = column<uint8_t>(rows, socketFlags),
      .unownedReason =
          column<uint8_t>(rows, [](const Socket& s) { return static_cast<uint8_t>(s.unownedReason); }),
  };
}

Snapshot::OtherSockets otherColumns(const std::vector<OtherSocket>& rows, const std::vector<Owner>& owners) {
  return {
      .sock = column<uint64_t>(rows, [](const OtherSocket& s) { return s.sock.value; }),
      .inode = column<double>(rows, [](const OtherSocket& s) { return static_cast<double>(s.inode); }),
      .netns = column(rows, &OtherSocket::netns),
      .ownersEnd = ownersEnds(rows.size(), owners),
      .kind = column<uint8_t>(rows, [](const OtherSocket& s) { return static_cast<uint8_t>(s.kind); }),
  };
}

uint8_t flagsOf(const NetNamespace& row) {
  return static_cast<uint8_t>((row.initial.value_or(false) ? kFlagInitial : 0) |
                              (row.initial ? 0 : kFlagInitialUnknown) |
                              (row.devices ? 0 : kFlagDevicesUnknown));
}

uint8_t flagsOf(const NetDevice& row) {
  return static_cast<uint8_t>((row.mac ? kFlagMac : 0) | (row.physical.value_or(false) ? kFlagPhysical : 0) |
                              (row.physical ? 0 : kFlagPhysicalUnknown));
}

void addDevice(Snapshot& snapshot, const NetDevice& row) {
  auto& [index, name, addressesEnd, mac, flags] = snapshot.devices;
  auto& [address, family] = snapshot.deviceAddresses;
  index.push_back(row.index);
  name.push_back(snapshot.strings.add(row.name));
  const auto bytes = row.mac.value_or(std::array<uint8_t, 6>{});
  mac.insert(mac.end(), bytes.begin(), bytes.end());
  flags.push_back(flagsOf(row));
  for (const DeviceAddress& one : row.addresses) {
    address.insert(address.end(), one.bytes.begin(), one.bytes.end());
    family.push_back(one.family);
  }
  addressesEnd.push_back(static_cast<uint32_t>(family.size()));
}

void addNamespace(Snapshot& snapshot, const NetNamespace& row) {
  auto& [inode, devicesEnd, flags] = snapshot.namespaces;
  if (row.devices) {
    for (const NetDevice& device : *row.devices) addDevice(snapshot, device);
  }
  inode.push_back(row.inode);
  devicesEnd.push_back(static_cast<uint32_t>(snapshot.devices.index.size()));
  flags.push_back(flagsOf(row));
}

}  // namespace

uint32_t StringTable::add(std::string_view text) {
  const auto [entry, isNew] = ids_.try_emplace(std::string(text), static_cast<uint32_t>(ends_.size()));
  if (isNew) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  return entry->second;
}

Snapshot makeSnapshot(const WalkResult& walk) {
  Snapshot snapshot;
  snapshot.processes = processColumns(walk, snapshot.strings);
  snapshot.discrepancies = {
      column(walk.discrepancies, &Discrepancy::process),
      column<uint8_t>(walk.discrepancies, [](const Discrepancy& d) { return static_cast<uint8_t>(d.kind); })};
  snapshot.sockets = socketColumns(walk.sockets, walk.owners);
  snapshot.owners = {column(walk.owners, &Owner::process), column(walk.owners, &Owner::fd)};
  snapshot.otherSockets = otherColumns(walk.others, walk.otherOwners);
  snapshot.otherOwners = {column(walk.otherOwners, &Owner::process), column(walk.otherOwners, &Owner::fd)};
  for (const NetNamespace& row : walk.namespaces) addNamespace(snapshot, row);
  snapshot.quality = walk.quality;
  return snapshot;
}

}  // namespace xfilter
