#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "memory/keyed_hash.h"
#include "walk/walk.h"

namespace xfilter {

/// Byte strings, each stored once; a column holds their ids.
class StringTable {
 public:
  uint32_t add(std::string_view text);
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  /// String i is bytes [ends[i - 1], ends[i]), the first one from 0 on.
  const std::vector<uint32_t>& ends() const { return ends_; }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> ends_;
  std::unordered_map<std::string, uint32_t, KeyedHash> ids_;  // a guest's users choose their processes' names
};

/// What one walk saw, column by column, as it crosses to JavaScript. lib/native.ts describes each column.
struct Snapshot {
  struct Processes {
    std::vector<uint64_t> task, startTime;
    std::vector<uint32_t> pid, ppid, uid, euid, suid, fsuid, gid, egid, sgid, fsgid, loginuid, session,
        sessionid, nspid, netns, pidns, threads, comm;
    std::vector<int32_t> cpu;
    std::vector<uint8_t> state, flags;
    std::vector<uint32_t> cgroup;
    std::vector<uint32_t> exe, args;  // empty if details were not asked for
    std::vector<uint8_t> argsAbsent;
  } processes;

  struct Discrepancies {
    std::vector<uint32_t> process;
    std::vector<uint8_t> kind;
  } discrepancies;

  struct Sockets {
    std::vector<uint64_t> sock;
    std::vector<double> inode;
    std::vector<uint32_t> uid, netns, boundInterface, ownersEnd;
    std::vector<uint8_t> localAddress, remoteAddress;
    std::vector<uint16_t> localPort, remotePort;
    std::vector<uint8_t> protocol, family, state, flags, unownedReason;
  } sockets;

  struct Owners {
    std::vector<uint32_t> process, fd;
  } owners;

  struct OtherSockets {
    std::vector<uint64_t> sock;
    std::vector<double> inode;
    std::vector<uint32_t> netns, ownersEnd;
    std::vector<uint8_t> kind;
  } otherSockets;
  Owners otherOwners;

  struct Namespaces {
    std::vector<uint32_t> inode, devicesEnd;
    std::vector<uint8_t> flags;
  } namespaces;

  struct Devices {
    std::vector<uint32_t> index, name, addressesEnd;
    std::vector<uint8_t> mac, flags;
  } devices;

  struct DeviceAddresses {
    std::vector<uint8_t> address, family;
  } deviceAddresses;

  StringTable strings;
  Quality quality;
};

Snapshot makeSnapshot(const WalkResult& walk);

}  // namespace xfilter
