#pragma once

#include <initializer_list>
#include <string_view>

#include "fake_memory.h"
#include "kernel/kernel.h"

namespace xfilter::test {

/// A guest with the few kernel structures that a walk reads, laid out as a test wants them. Every structure
/// is 256 bytes apart; members lie where `layout()` says.
///
///     FakeKernel kernel;
///     const auto task = kernel.addProcess({.pid = 10, .comm = "nc"});
///     kernel.open(task, 3, kernel.addSocket({.localPort = 22}));
///     const auto result = walk(kernel.kernel(), {}, {});
class FakeKernel {
 public:
  struct ProcessSpec {
    uint32_t pid = 1;
    std::string_view comm = "init";
    uint32_t uid = 0;
    VirtualAddress files{};  // another process's table, to share it
    uint32_t maxFds = 64;
    uint32_t pidLevel = 0;
    bool inTaskList = true;
    bool inPidTable = true;
  };
  struct SocketSpec {
    uint16_t type = 1;      // SOCK_STREAM
    uint16_t protocol = 6;  // TCP
    uint16_t family = 2;    // AF_INET
    uint8_t state = 1;      // ESTABLISHED
    uint16_t localPort = 22;
    uint32_t uid = 0;
    uint32_t inode = 100;
    bool inodeApart = false;  // in another page than the pointers of its struct socket
  };
  /// A process, by the addresses that tests break things at.
  struct Process {
    VirtualAddress task, signal, files, fdtable, slots, bits;
  };
  struct File {
    VirtualAddress file, socket, sock;
  };

  static constexpr uint32_t kNetInum = 4026531840;
  static constexpr uint32_t kPidInum = 4026531836;

  FakeKernel() {
    initTask_ = allocate();
    link(initTask_ + kTasks, initTask_ + kTasks, initTask_ + kTasks);
    net_ = allocate();
    guest.write(net_, kNetInum);
    netList_ = allocate();
    link(netList_, netList_, netList_);
    listNet(net_);
    pidNamespace_ = allocate();
    guest.write(pidNamespace_, kPidInum);
    pidNode_ = allocate(1024);
    guest.write(pidNamespace_ + 8, pidNode_ + 2);  // an xarray marks its nodes so
    nsproxy_ = allocate();
    guest.write(nsproxy_, net_);
    rawTable_ = allocate(kRawBuckets * 8);
  }

  Process addProcess(const ProcessSpec& spec) {
    Process p{.task = allocate(), .signal = allocate()};
    guest.write(p.task + kPid, spec.pid);
    guest.write(p.task + kTgid, spec.pid);
    guest.write(p.task + kStartTime, uint64_t{1000} + spec.pid);
    guest.map(p.task + kComm, bytesOf(spec.comm));
    guest.write(p.task + kRealParent, initTask_);
    const VirtualAddress cred = allocate();
    for (uint64_t i = 0; i < 8; ++i) guest.write(cred + i * 4, spec.uid);
    guest.write(p.task + kRealCred, cred);
    guest.write(p.task + kNsproxy, nsproxy_);
    const VirtualAddress pid = allocate();
    guest.write(pid, spec.pidLevel);
    guest.write(pid + 16, spec.pid);
    guest.write(pid + 24, pidNamespace_);
    if (spec.inPidTable) {
      guest.write(pidNode_ + 8 + (spec.pid % 64) * 8, pid);
      guest.write(pid + kPidTasks + 8, p.task + kPidLinks + 16);
    }
    guest.write(p.task + kThreadPid, pid);
    guest.write(p.task + kGroupLeader, p.task);
    guest.write(p.task + kSignal, p.signal);
    guest.write(p.signal + kNrThreads, uint32_t{1});
    guest.write(p.signal + kPids + 3 * 8, pid);
    endThreads(p);
    if (spec.files) {
      p.files = spec.files;
    } else {
      addTable(p, spec.maxFds);
    }
    guest.write(p.task + kFiles, p.files);
    if (spec.inTaskList) append(initTask_ + kTasks, p.task + kTasks);
    return p;
  }

  /// A further thread of a process, with the process's table or, given one, its own.
  VirtualAddress addThread(const Process& process, VirtualAddress files) {
    const VirtualAddress thread = allocate();
    guest.write(thread + kFiles, files);
    guest.write(thread + kNsproxy, nsproxy_);
    append(process.signal + kThreadHead, thread + kThreadNode);
    return thread;
  }

  /// All threads of a process but its leader have ended.
  void endThreads(const Process& process) {
    link(process.signal + kThreadHead, process.task + kThreadNode, process.task + kThreadNode);
    link(process.task + kThreadNode, process.signal + kThreadHead, process.signal + kThreadHead);
  }

  /// Gives a thread its ids, as a CPU that runs it shows them.
  void setGroupLeader(VirtualAddress thread, uint32_t tid, uint32_t pid, const Process& process) {
    guest.write(thread + kPid, tid);
    guest.write(thread + kTgid, pid);
    guest.write(thread + kGroupLeader, process.task);
  }

  /// list_del_init of the process: as one that hides does it.
  void unlink(const Process& process) {
    const VirtualAddress node = process.task + kTasks;
    VirtualAddress next, previous;
    std::memcpy(&next, guest.at(node).data(), sizeof next);
    std::memcpy(&previous, guest.at(node + 8).data(), sizeof previous);
    guest.write(previous, next);
    guest.write(next + 8, previous);
    link(node, node, node);
  }

  /// list_add_tail of a process that is in no list.
  void relink(const Process& process) { append(initTask_ + kTasks, process.task + kTasks); }

  /// What an exit leaves of a task's own link to its pid.
  void detachPid(const Process& process) { guest.write(process.task + kThreadPid, uint64_t{0}); }

  /// What comes next lies in pages of its own: tests see when a page is first read.
  void startPage() { used_ = (used_ + kPageSize - 1) & ~(kPageSize - 1); }

  /// An exit, as far as descriptors go: the process has no table any more.
  void exitFiles(const Process& process) { guest.write(process.task + kFiles, uint64_t{0}); }
  void setFiles(const Process& process, VirtualAddress files) { guest.write(process.task + kFiles, files); }
  void setStartTime(const Process& process, uint64_t time) { guest.write(process.task + kStartTime, time); }
  void setComm(const Process& process, std::string_view comm) {
    guest.map(process.task + kComm, bytesOf(comm));
  }

  /// commit_creds with all ids alike.
  void setIds(const Process& process, uint32_t uid) {
    const VirtualAddress cred = allocate();
    for (uint64_t i = 0; i < 8; ++i) guest.write(cred + i * 4, uid);
    guest.write(process.task + kRealCred, cred);
  }

  void close(const Process& process, uint32_t fd) { guest.write(process.slots + fd * 8, uint64_t{0}); }

  void setInode(const File& file, uint64_t inode) { guest.write(file.socket + kInode, inode); }
  void setSocket(const File& file, VirtualAddress socket) { guest.write(file.file + 8, socket); }
  void setSock(const File& file, VirtualAddress sock) { guest.write(file.socket + 8, sock); }
  VirtualAddress inodeOf(const File& file) const { return file.socket + kInode; }
  void setLocalPort(const File& file, uint16_t port) {
    guest.write(file.sock + kSkSport, __builtin_bswap16(port));
  }
  void setSockUid(const File& file, uint32_t uid) { guest.write(file.sock + kSkUid, uid); }

  /// Puts a sock that is not in use by a file at the head of chain `bucket` of the raw table.
  void hash(const File& file, uint32_t bucket) {
    const VirtualAddress head = rawTable_ + bucket * 8, node = file.sock + kSkNode;
    const uint64_t next = guest.read(head);
    link(node, {next}, head);
    guest.write(head, node);
    if (next) guest.write(VirtualAddress{next} + 8, node);
  }
  /// Makes these socks all of chain `bucket` of the raw table, ending as a hlist_nulls does.
  void makeChain(uint32_t bucket, std::initializer_list<File> files) {
    VirtualAddress from = rawTable_ + bucket * 8;
    for (const File& file : files) {
      const VirtualAddress node = file.sock + kSkNode;
      guest.write(from, node);
      guest.write(node + 8, from);
      from = node;
    }
    guest.write(from, uint64_t{bucket} << 1 | 1);
  }
  /// The head of chain `bucket` of the raw table leads to itself; what lies behind it, too, as to a
  /// predecessor.
  void selfHash(uint32_t bucket) {
    const VirtualAddress head = rawTable_ + bucket * 8;
    link(head, head, head);
  }
  void unhash(const File& file) {
    const VirtualAddress node = file.sock + kSkNode;
    const VirtualAddress next{guest.read(node)}, link{guest.read(node + 8)};
    guest.write(link, next);
    if (next) guest.write(next + 8, link);
    guest.write(node + 8, uint64_t{0xdead'0000'0000'0122});  // LIST_POISON2
  }
  /// The file of a socket that is nobody's but the kernel's.
  void forgetFile(const File& file) { guest.write(file.socket, uint64_t{0}); }
  /// The socket of a sock that was closed.
  void orphan(const File& file) { guest.write(file.sock + kSkSocket, uint64_t{0}); }

  /// An empty fd table of `maxFds` descriptors.
  void addTable(Process& p, uint32_t maxFds) {
    p.files = allocate();
    p.fdtable = allocate();
    p.slots = allocate(maxFds * 8);
    p.bits = allocate((maxFds + 63) / 64 * 8);
    guest.write(p.files, p.fdtable);
    guest.write(p.fdtable, maxFds);
    guest.write(p.fdtable + 8, p.slots);
    guest.write(p.fdtable + 16, p.bits);
  }

  struct DeviceSpec {
    std::string_view name = "lo";
    uint32_t index = 1;
    std::string_view mac{"\0\0\0\0\0\0", 6};
    bool physical = false;
  };
  /// A network device, by the addresses that tests break things at.
  struct Device {
    VirtualAddress device, in, in6;
  };

  /// Another network namespace than the initial one.
  VirtualAddress addNet(uint32_t inum) {
    const VirtualAddress net = allocate();
    guest.write(net, inum);
    listNet(net);
    return net;
  }
  VirtualAddress initNet() const { return net_; }
  /// list_del_rcu of a namespace's device.
  void removeDevice(const Device& device) {
    const VirtualAddress node = device.device + kDevList;
    const VirtualAddress next{guest.read(node)}, previous{guest.read(node + 8)};
    guest.write(previous, next);
    guest.write(next + 8, previous);
    guest.write(node + 8, uint64_t{0xdead'0000'0000'0122});  // LIST_POISON2
  }

  Device addDevice(VirtualAddress net, const DeviceSpec& spec) {
    Device d{.device = allocate(), .in = allocate(), .in6 = allocate()};
    guest.map(d.device + kDevName, bytesOf(spec.name));
    guest.write(d.device + kDevIndex, spec.index);
    guest.map(d.device + kDevMac, bytesOf(spec.mac));
    guest.write(d.device + kDevAddr, d.device + kDevMac);
    guest.write(d.device + kDevAddrLen, static_cast<uint8_t>(spec.mac.size()));
    guest.write(d.device + kDevParent, uint64_t{spec.physical});
    guest.write(d.device + kDevIp, d.in);
    guest.write(d.device + kDevIp6, d.in6);
    guest.write(d.in, d.device);
    guest.write(d.in6, d.device);
    link(d.in6 + 8, d.in6 + 8, d.in6 + 8);
    append(net + kDevBase, d.device + kDevList);
    return d;
  }
  void setName(const Device& device, std::string_view name) {
    guest.map(device.device + kDevName, bytesOf(name));
  }
  /// Puts an IPv4 address in front of the device's.
  VirtualAddress addIpv4(const Device& device, std::string_view bytes) {
    const VirtualAddress address = allocate();
    guest.write(address, guest.read(device.in + 8));
    guest.write(address + 8, device.in);
    guest.map(address + 16, bytesOf(bytes));
    guest.write(device.in + 8, address);
    return address;
  }
  VirtualAddress addIpv6(const Device& device, std::string_view bytes) {
    const VirtualAddress address = allocate();
    guest.write(address + 16, device.in6);
    guest.map(address + 24, bytesOf(bytes));
    append(device.in6 + 8, address);
    return address;
  }

  /// A socket with its file; `sock` makes the file lead to another sock than one of its own.
  File addSocket(const SocketSpec& spec) {
    File f{.file = allocate()};
    if (spec.inodeApart) {
      startPage();
      f.socket = allocate(2 * kPageSize) + (kPageSize - kInode);
    } else {
      f.socket = allocate();
    }
    f.sock = allocate();
    guest.write(f.file, kSocketFileOps);
    guest.write(f.file + 8, f.socket);
    guest.write(f.socket, f.file);
    guest.write(f.socket + 8, f.sock);
    guest.write(f.socket + kInode, uint64_t{spec.inode});
    guest.write(f.sock + kSkSocket, f.socket);
    guest.write(f.sock + kSkFamily, spec.family);
    guest.write(f.sock + kSkState, spec.state);
    guest.write(f.sock + kSkType, spec.type);
    guest.write(f.sock + kSkProtocol, spec.protocol);
    guest.write(f.sock + kSkSport, __builtin_bswap16(spec.localPort));
    guest.write(f.sock + kSkNum, spec.localPort);
    guest.write(f.sock + kSkUid, spec.uid);
    guest.write(f.sock + kSkNet, net_);
    return f;
  }

  void open(const Process& process, uint32_t fd, const File& file) {
    setBit(process, fd);
    guest.write(process.slots + fd * 8, file.file);
  }
  void setBit(const Process& process, uint32_t fd) {
    const VirtualAddress word = process.bits + fd / 64 * 8;
    uint64_t bits = 0;
    std::memcpy(&bits, guest.at(word).data(), sizeof bits);
    guest.write(word, bits | uint64_t{1} << (fd % 64));
  }

  /// Makes `subflow` a subflow of the MPTCP socket `mptcp`.
  void addSubflow(const File& mptcp, const File& subflow) {
    const VirtualAddress head = mptcp.sock + kConnList;
    uint64_t next = 0;
    std::memcpy(&next, guest.at(head).data(), sizeof next);
    if (next == 0) {
      link(head, head, head);
      guest.write(mptcp.sock + kFirst, subflow.sock);
    }
    const VirtualAddress context = allocate();
    guest.write(context + 16, subflow.sock);
    append(head, context);
  }

  void setLocalAddress6(const File& file, std::string_view bytes) {
    guest.map(file.sock + kSkV6Local, bytesOf(bytes));
  }
  void setIpv6Only(const File& file) { guest.write(file.sock + kSkIpv6Only, uint8_t{1 << 5}); }

  Kernel kernel() const {
    return {.space = guest.space(),
            .layout = layout(),
            .symbols = {.init_task = initTask_,
                        .socket_file_ops = kSocketFileOps,
                        .net_namespace_list = netList_,
                        .init_net = net_,
                        .raw_v4_hashinfo = rawTable_,
                        .init_pid_ns = pidNamespace_}};
  }

  VirtualAddress initTask() const { return initTask_; }

  void link(VirtualAddress node, VirtualAddress next, VirtualAddress previous) {
    guest.write(node, next);
    guest.write(node + 8, previous);
  }

  static constexpr uint64_t kTasks = 0, kThreadNode = 16;

  FakeGuest guest;

 private:
  static constexpr VirtualAddress kHeap{0xffff'8880'0000'0000};
  static constexpr VirtualAddress kSocketFileOps{0xffff'ffff'8200'0000};

  // struct task_struct
  static constexpr uint64_t kPid = 32, kTgid = 36, kFlags = 40, kExitState = 44, kState = 48, kComm = 52,
                            kRealParent = 72, kRealCred = 80, kSignal = 88, kFiles = 96, kNsproxy = 104,
                            kThreadPid = 112, kGroupLeader = 120, kPidLinks = 128, kStartTime = 192;
  // struct pid
  static constexpr uint64_t kPidTasks = 32;
  // struct signal_struct
  static constexpr uint64_t kThreadHead = 0, kNrThreads = 16, kPids = 24;
  // struct socket_alloc
  static constexpr uint64_t kInode = 64;
  // struct sock
  static constexpr uint64_t kSkDaddr = 0, kSkRcvSaddr = 4, kSkDport = 8, kSkNum = 10, kSkSport = 12,
                            kSkFamily = 14, kSkState = 16, kSkIpv6Only = 17, kSkType = 18, kSkProtocol = 20,
                            kSkUid = 24, kSkNet = 32, kSkSocket = 40, kSkV6Remote = 48, kSkV6Local = 64,
                            kConnList = 80, kFirst = 96, kSkNode = 112, kSkBindNode = 128;
  static constexpr uint32_t kRawBuckets = 4;
  // struct net
  static constexpr uint64_t kNetList = 8, kDevBase = 24;
  // struct net_device
  static constexpr uint64_t kDevList = 0, kDevName = 16, kDevIndex = 32, kDevAddrLen = 36, kDevAddr = 40,
                            kDevParent = 48, kDevIp = 56, kDevIp6 = 64, kDevMac = 72;

  static Layout layout() {
    const auto field = [](uint64_t offset, uint32_t size) {
      return Field{.offset = static_cast<uint32_t>(offset), .size = size};
    };
    Layout l;
    l.list_head = {field(0, 8), field(8, 8)};
    l.task_struct.tasks = field(kTasks, 16);
    l.task_struct.thread_node = field(kThreadNode, 16);
    l.task_struct.pid = field(kPid, 4);
    l.task_struct.tgid = field(kTgid, 4);
    l.task_struct.flags = field(kFlags, 4);
    l.task_struct.exit_state = field(kExitState, 4);
    l.task_struct.state = field(kState, 4);
    l.task_struct.comm = field(kComm, 16);
    l.task_struct.real_parent = field(kRealParent, 8);
    l.task_struct.real_cred = field(kRealCred, 8);
    l.task_struct.signal = field(kSignal, 8);
    l.task_struct.files = field(kFiles, 8);
    l.task_struct.nsproxy = field(kNsproxy, 8);
    l.task_struct.thread_pid = field(kThreadPid, 8);
    l.task_struct.group_leader = field(kGroupLeader, 8);
    l.task_struct.startTime = field(kStartTime, 8);
    l.signal_struct = {field(kThreadHead, 16), field(kNrThreads, 4), field(kPids, 32), 3};
    l.cred = {field(0, 4),  field(4, 4),  field(8, 4),  field(12, 4),
              field(16, 4), field(20, 4), field(24, 4), field(28, 4)};
    l.pid = {field(0, 4), field(16, 16), field(0, 4), field(8, 8), 16};
    l.nsproxy.net_ns = field(0, 8);
    l.pidTable = Layout::PidTable{field(8, 8),          field(0, 1),          field(8, 512),
                                  field(kPidTasks, 32), field(kPidLinks, 64), 1};
    l.pidTable->slots.elements = 64;
    l.ns_common = {field(0, 4), field(0, 4)};
    l.files_struct.fdt = field(0, 8);
    l.fdtable = {field(0, 4), field(8, 8), field(16, 8)};
    l.file = {field(0, 8), field(8, 8)};
    l.socket = {field(0, 8), field(8, 8), field(kInode, 8), field(0, 16)};
    l.sock.family = field(kSkFamily, 2);
    l.sock.state = field(kSkState, 1);
    l.sock.daddr = field(kSkDaddr, 4);
    l.sock.rcv_saddr = field(kSkRcvSaddr, 4);
    l.sock.num = field(kSkNum, 2);
    l.sock.net = field(kSkNet, 8);
    l.sock.v6_daddr = field(kSkV6Remote, 16);
    l.sock.v6_rcv_saddr = field(kSkV6Local, 16);
    l.sock.ipv6only = Field{.offset = kSkIpv6Only, .size = 1, .bitShift = 5, .bits = 1};
    l.sock.type = field(kSkType, 2);
    l.sock.protocol = field(kSkProtocol, 2);
    l.sock.socket = field(kSkSocket, 8);
    l.sock.uid = field(kSkUid, 4);
    l.inet_sock = {field(kSkSport, 2), field(kSkDport, 2)};
    l.tables = Layout::SocketTables{
        field(0, 8), field(8, 8), field(kSkNode, 16), field(kSkBindNode, 16), field(kNetList, 16), {}, {}};
    l.network.devices = Layout::NetDevices{field(kDevBase, 16), field(kDevList, 16), field(kDevName, 16),
                                           field(kDevIndex, 4), field(kDevAddr, 8),  field(kDevAddrLen, 1),
                                           field(kDevParent, 8)};
    l.network.ipv4 = Layout::Ipv4Addresses{field(kDevIp, 8), field(0, 8), field(8, 8),
                                           field(0, 8),      field(8, 8), field(16, 4)};
    l.network.ipv6 = Layout::Ipv6Addresses{field(kDevIp6, 8), field(0, 8),  field(8, 16),
                                           field(0, 16),      field(16, 8), field(24, 16)};
    l.raw_table = field(0, 8);
    l.raw_table->elements = kRawBuckets;
    l.mptcp = Layout::Mptcp{field(kConnList, 16), field(kFirst, 8), {}, field(0, 16), field(16, 8)};
    return l;
  }

  VirtualAddress allocate(uint64_t size = 256) {
    const VirtualAddress address = kHeap + used_;
    used_ += (size + 255) & ~uint64_t{255};
    guest.reserve(address, size);
    return address;
  }

  void listNet(VirtualAddress net) {
    append(netList_, net + kNetList);
    link(net + kDevBase, net + kDevBase, net + kDevBase);
  }

  // list_add_tail
  void append(VirtualAddress head, VirtualAddress node) {
    VirtualAddress last;
    std::memcpy(&last, guest.at(head + 8).data(), sizeof last);
    link(node, head, last);
    guest.write(last, node);
    guest.write(head + 8, node);
  }

  uint64_t used_ = 0;
  VirtualAddress initTask_, net_, netList_, pidNamespace_, pidNode_, nsproxy_, rawTable_;
};

}  // namespace xfilter::test
