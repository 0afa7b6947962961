#include "kernel/layout.h"

#include <string_view>

namespace xfilter {
namespace {

/// Looks members up and keeps account of those that are not there.
class Resolver {
 public:
  explicit Resolver(const TypeSource& types) : types_(types) {}

  /// A member that the walk cannot do without; where kernels differ, by any of its paths.
  void need(Field& field, std::string_view type, std::initializer_list<std::string_view> paths) {
    if (const auto found = find(type, paths)) {
      field = *found;
    } else {
      needed_ += (needed_.empty() ? "" : ", ") + name(type, *paths.begin());
    }
  }
  void need(Field& field, std::string_view type, std::string_view path) { need(field, type, {path}); }

  /// A member whose absence costs something, but not the walk.
  void want(std::optional<Field>& field, std::string_view type, std::initializer_list<std::string_view> paths,
            std::string_view costs) {
    field = find(type, paths);
    if (!field) missing_.push_back({name(type, *paths.begin()), std::string(costs)});
  }
  void want(std::optional<Field>& field, std::string_view type, std::string_view path,
            std::string_view costs) {
    want(field, type, {path}, costs);
  }

  /// A member whose absence costs nothing that anybody sees.
  void maybe(std::optional<Field>& field, std::string_view type, std::string_view path) {
    field = find(type, {path});
  }

  /// Members that are of use only together: `group` is left empty, and its cost said, if `resolve` misses
  /// one.
  template <class Group, class Resolve>
  void group(std::optional<Group>& group, std::string_view costs, Resolve resolve) {
    groupLacks_.clear();
    Group found;
    resolve(found);
    if (groupLacks_.empty()) {
      group = found;
    } else {
      missing_.push_back({groupLacks_, std::string(costs)});
    }
  }
  void part(Field& field, std::string_view type, std::initializer_list<std::string_view> paths) {
    if (const auto found = find(type, paths)) {
      field = *found;
    } else if (groupLacks_.empty()) {
      groupLacks_ = name(type, *paths.begin());
    }
  }
  void part(Field& field, std::string_view type, std::string_view path) { part(field, type, {path}); }

  /// The size of what a table consists of: each has at least a pointer.
  void partSize(uint32_t& size, std::string_view type) {
    size = types_.sizeOf(type).value_or(0);
    if (size < sizeof(uint64_t) && groupLacks_.empty()) groupLacks_ = type;
  }

  void needSize(uint32_t& size, std::string_view type) {
    if (const auto found = types_.sizeOf(type)) {
      size = *found;
    } else {
      needed_ += (needed_.empty() ? "" : ", ") + std::string(type);
    }
  }

  const std::string& needed() const { return needed_; }
  std::vector<Layout::MissingMember> takeMissing() { return std::move(missing_); }

 private:
  static std::string name(std::string_view type, std::string_view path) {
    return std::string(type) + "." + std::string(path);
  }

  std::optional<Field> find(std::string_view type, std::initializer_list<std::string_view> paths) const {
    for (const auto path : paths) {
      const auto found = types_.field(type, path);
      if (found && found->elements <= kMaxElements) return found;
    }
    return std::nullopt;
  }

  /// The walk goes over arrays to their end, which the guest's own types tell. The longest, of raw_hashinfo,
  /// has 256.
  static constexpr uint32_t kMaxElements = 4096;

  const TypeSource& types_;
  std::string needed_;
  std::string groupLacks_;  // the first member that the group at hand misses
  std::vector<Layout::MissingMember> missing_;
};

void resolveTask(Layout& layout, Resolver& r, const TypeSource& types) {
  auto& task = layout.task_struct;
  r.need(task.tasks, "task_struct", "tasks");
  r.need(task.thread_node, "task_struct", "thread_node");
  r.need(task.pid, "task_struct", "pid");
  r.need(task.tgid, "task_struct", "tgid");
  r.need(task.flags, "task_struct", "flags");
  r.need(task.state, "task_struct", {"__state", "state"});
  r.need(task.exit_state, "task_struct", "exit_state");
  r.need(task.comm, "task_struct", "comm");
  r.need(task.real_parent, "task_struct", "real_parent");
  r.need(task.real_cred, "task_struct", "real_cred");
  r.need(task.signal, "task_struct", "signal");
  r.need(task.files, "task_struct", "files");
  r.want(task.loginuid, "task_struct", "loginuid", "loginuid");
  r.want(task.sessionid, "task_struct", "sessionid", "sessionid");
  r.want(task.nsproxy, "task_struct", "nsproxy", "netns of processes");
  r.want(task.thread_pid, "task_struct", "thread_pid", "nspid, pidns");
  r.want(task.on_cpu, "task_struct", "on_cpu", "cpu");
  r.want(task.cpu, "task_struct", {"thread_info.cpu", "cpu"}, "cpu");
  r.want(task.group_leader, "task_struct", "group_leader", "processes of threads that a CPU runs");
  r.want(task.startTime, "task_struct", {"start_boottime", "real_start_time"}, "startTime");

  auto& signal = layout.signal_struct;
  r.need(signal.thread_head, "signal_struct", "thread_head");
  r.need(signal.nr_threads, "signal_struct", "nr_threads");
  r.want(signal.pids, "signal_struct", "pids", "session");
  const auto sid = types.enumerator("pid_type", "PIDTYPE_SID");
  if (signal.pids && sid && *sid >= 0 && *sid < signal.pids->elements) {
    signal.sessionIndex = static_cast<uint32_t>(*sid);
  } else {
    signal.pids.reset();
  }

  auto& cred = layout.cred;
  r.need(cred.uid, "cred", "uid");
  r.need(cred.gid, "cred", "gid");
  r.need(cred.suid, "cred", "suid");
  r.need(cred.sgid, "cred", "sgid");
  r.need(cred.euid, "cred", "euid");
  r.need(cred.egid, "cred", "egid");
  r.need(cred.fsuid, "cred", "fsuid");
  r.need(cred.fsgid, "cred", "fsgid");
}

void resolveNamespaces(Layout& layout, Resolver& r) {
  r.need(layout.pid.level, "pid", "level");
  r.need(layout.pid.numbers, "pid", "numbers");
  r.need(layout.pid.nr, "upid", "nr");
  r.need(layout.pid.ns, "upid", "ns");
  r.needSize(layout.pid.upid, "upid");
  r.want(layout.nsproxy.net_ns, "nsproxy", "net_ns", "netns of processes");
  r.want(layout.ns_common.netInum, "net", "ns.inum", "netns");
  r.want(layout.ns_common.pidInum, "pid_namespace", "ns.inum", "pidns");
}

void resolveFiles(Layout& layout, Resolver& r) {
  r.need(layout.list_head.next, "list_head", "next");
  r.need(layout.list_head.prev, "list_head", "prev");
  r.need(layout.files_struct.fdt, "files_struct", "fdt");
  r.need(layout.fdtable.max_fds, "fdtable", "max_fds");
  r.need(layout.fdtable.fd, "fdtable", "fd");
  r.need(layout.fdtable.open_fds, "fdtable", "open_fds");
  r.need(layout.file.f_op, "file", "f_op");
  r.need(layout.file.private_data, "file", "private_data");
  r.need(layout.socket.file, "socket", "file");
  r.need(layout.socket.sk, "socket", "sk");
  r.need(layout.socket.inode, "socket_alloc", "vfs_inode.i_ino");
  r.need(layout.socket.socket, "socket_alloc", "socket");
}

void resolveSock(Layout& layout, Resolver& r) {
  auto& sock = layout.sock;
  r.need(sock.family, "sock_common", "skc_family");
  r.need(sock.state, "sock_common", "skc_state");
  r.need(sock.daddr, "sock_common", "skc_daddr");
  r.need(sock.rcv_saddr, "sock_common", "skc_rcv_saddr");
  r.need(sock.num, "sock_common", "skc_num");
  r.want(sock.bound_dev_if, "sock_common", "skc_bound_dev_if", "boundInterface");
  r.want(sock.net, "sock_common", "skc_net.net", "netns of sockets (CONFIG_NET_NS=n)");
  r.want(sock.v6_daddr, "sock_common", "skc_v6_daddr", "IPv6 sockets (CONFIG_IPV6=n)");
  r.want(sock.v6_rcv_saddr, "sock_common", "skc_v6_rcv_saddr", "IPv6 sockets (CONFIG_IPV6=n)");
  r.want(sock.ipv6only, "sock_common", "skc_ipv6only", "dualStack");
  r.need(sock.type, "sock", "sk_type");
  r.need(sock.protocol, "sock", "sk_protocol");
  r.need(sock.socket, "sock", "sk_socket");
  r.want(sock.uid, "sock", "sk_uid", "uid of sockets");
  r.need(layout.inet_sock.sport, "inet_sock", "inet_sport");
  r.need(layout.inet_sock.dport, "sock_common", "skc_dport");
  r.maybe(layout.inet_sock.hdrincl, "inet_sock", "hdrincl");
  r.maybe(layout.inet_sock.inet_flags, "inet_sock", "inet_flags");

  r.group(layout.mptcp, "TCP subflows of MPTCP sockets (CONFIG_MPTCP=n)", [&](Layout::Mptcp& m) {
    r.part(m.conn_list, "mptcp_sock", "conn_list");
    r.part(m.first, "mptcp_sock", "first");
    r.maybe(m.join_list, "mptcp_sock", "join_list");
    r.part(m.node, "mptcp_subflow_context", "node");
    r.part(m.tcp_sock, "mptcp_subflow_context", "tcp_sock");
  });
}

void resolveSocketTables(Layout& layout, Resolver& r) {
  constexpr std::string_view kCosts = "sockets that no process holds";
  r.group(layout.tables, kCosts, [&](Layout::SocketTables& t) {
    r.part(t.next, "hlist_node", "next");
    r.part(t.pprev, "hlist_node", "pprev");
    r.part(t.node, "sock_common", "skc_node");
    r.part(t.bind_node, "sock_common", "skc_bind_node");
    r.part(t.net, "net", "list");
    r.maybe(t.hashinfo, "net", "ipv4.tcp_death_row.hashinfo");
    r.maybe(t.udp_table, "net", "ipv4.udp_table");
  });
  r.group(layout.tcp, "tcp sockets that no process holds", [&](Layout::TcpTables& t) {
    r.part(t.ehash, "inet_hashinfo", "ehash");
    r.part(t.ehash_mask, "inet_hashinfo", "ehash_mask");
    r.part(t.bhash, "inet_hashinfo", "bhash");
    r.part(t.bhash_size, "inet_hashinfo", "bhash_size");
    r.maybe(t.listening_hash, "inet_hashinfo", "listening_hash");
    r.maybe(t.lhash2, "inet_hashinfo", "lhash2");
    r.maybe(t.lhash2_mask, "inet_hashinfo", "lhash2_mask");
    r.part(t.listen_head, "inet_listen_hashbucket", {"nulls_head", "head"});
    r.part(t.bind_chain, "inet_bind_hashbucket", "chain");
    r.part(t.bind_node, "inet_bind_bucket", "node");
    r.maybe(t.owners, "inet_bind_bucket", "owners");
    r.maybe(t.bhash2, "inet_bind_bucket", "bhash2");
    r.maybe(t.bhash_node, "inet_bind2_bucket", "bhash_node");
    r.maybe(t.owners2, "inet_bind2_bucket", "owners");
    r.partSize(t.listen_bucket, "inet_listen_hashbucket");
    r.partSize(t.bind_bucket, "inet_bind_hashbucket");
    r.part(t.tw_substate, "inet_timewait_sock", "tw_substate");
    r.part(t.tw_sport, "inet_timewait_sock", "tw_sport");
    r.part(t.listener, "sock_common", "skc_listener");
  });
  r.group(layout.udp, "udp sockets that no process holds", [&](Layout::UdpTable& t) {
    r.part(t.hash, "udp_table", "hash");
    r.part(t.mask, "udp_table", "mask");
    r.part(t.head, "udp_hslot", "head");
    r.partSize(t.slot, "udp_hslot");
  });
  r.want(layout.raw_table, "raw_hashinfo", "ht", "raw sockets that no process holds");
  r.want(layout.ping_table, "ping_table", "hash", "ping sockets that no process holds");
}

void resolveNetwork(Layout& layout, Resolver& r) {
  auto& network = layout.network;
  r.group(network.devices, "devices of network namespaces", [&](Layout::NetDevices& d) {
    r.part(d.dev_base_head, "net", "dev_base_head");
    r.part(d.dev_list, "net_device", "dev_list");
    r.part(d.name, "net_device", "name");
    r.part(d.ifindex, "net_device", "ifindex");
    r.want(d.dev_addr, "net_device", "dev_addr", "mac of network devices");
    r.want(d.addr_len, "net_device", "addr_len", "mac of network devices");
    r.want(d.parent, "net_device", "dev.parent", "which network devices are physical");
  });
  r.group(network.ipv4, "IPv4 addresses of network devices", [&](Layout::Ipv4Addresses& a) {
    r.part(a.ip_ptr, "net_device", "ip_ptr");
    r.part(a.dev, "in_device", "dev");
    r.part(a.ifa_list, "in_device", "ifa_list");
    r.part(a.ifa_next, "in_ifaddr", "ifa_next");
    r.part(a.ifa_dev, "in_ifaddr", "ifa_dev");
    r.part(a.ifa_local, "in_ifaddr", "ifa_local");
  });
  r.group(network.ipv6, "IPv6 addresses of network devices", [&](Layout::Ipv6Addresses& a) {
    r.part(a.ip6_ptr, "net_device", "ip6_ptr");
    r.part(a.dev, "inet6_dev", "dev");
    r.part(a.addr_list, "inet6_dev", "addr_list");
    r.part(a.if_list, "inet6_ifaddr", "if_list");
    r.part(a.idev, "inet6_ifaddr", "idev");
    r.part(a.addr, "inet6_ifaddr", "addr");
  });
}

void resolveUnheld(Layout& layout, Resolver& r, const TypeSource& types) {
  constexpr std::string_view kCosts = "the reason why no process holds a socket";
  r.want(layout.unheld.flags, "sock_common", "skc_flags", kCosts);
  layout.unheld.deadBit = static_cast<uint32_t>(types.enumerator("sock_flags", "SOCK_DEAD").value_or(0)) & 63;
  if (layout.mptcp) {
    r.maybe(layout.unheld.is_mptcp, "tcp_sock", "is_mptcp");
    r.maybe(layout.unheld.ulp_data, "inet_connection_sock", "icsk_ulp_data");
    r.maybe(layout.unheld.conn, "mptcp_subflow_context", "conn");
  }
  r.group(layout.inFlight, "sockets in flight between processes", [&](Layout::InFlight& f) {
    r.maybe(f.buckets, "net", "unx.table.buckets");
    r.part(f.receive_queue, "sock", "sk_receive_queue");
    r.part(f.skb_list, "sk_buff", "list");
    r.part(f.skb_cb, "sk_buff", "cb");
    r.part(f.fp, "unix_skb_parms", "fp");
    r.part(f.count, "scm_fp_list", "count");
    r.part(f.files, "scm_fp_list", "fp");
  });
  auto& ring = layout.ioUring;
  r.maybe(ring.nodes, "io_ring_ctx", "file_table.data.nodes");
  r.maybe(ring.nr, "io_ring_ctx", "file_table.data.nr");
  r.maybe(ring.node_file, "io_rsrc_node", "file_ptr");
  r.maybe(ring.files, "io_ring_ctx", "file_table.files");
  r.maybe(ring.nr_user_files, "io_ring_ctx", "nr_user_files");
  r.maybe(ring.io_uring, "task_struct", "io_uring");
  r.maybe(ring.registered_rings, "io_uring_task", "registered_rings");
}

void resolveProcessViews(Layout& layout, Resolver& r, const TypeSource& types) {
  r.group(layout.pidTable, "the cross-check of processes against the pid table", [&](Layout::PidTable& t) {
    r.part(t.xa_head, "pid_namespace", "idr.idr_rt.xa_head");
    r.part(t.shift, "xa_node", "shift");
    r.part(t.slots, "xa_node", "slots");
    r.part(t.tasks, "pid", "tasks");
    r.part(t.pid_links, "task_struct", "pid_links");
    t.tgidIndex = static_cast<uint32_t>(types.enumerator("pid_type", "PIDTYPE_TGID").value_or(1)) & 3;
  });
  r.group(layout.cgroup, "cgroup", [&](Layout::Cgroup& c) {
    r.part(c.cgroups, "task_struct", "cgroups");
    r.part(c.dfl_cgrp, "css_set", "dfl_cgrp");
    r.part(c.kn, "cgroup", "kn");
    r.part(c.name, "kernfs_node", "name");
    r.part(c.parent, "kernfs_node", {"__parent", "parent"});
  });
  r.group(layout.program, "exe, args", [&](Layout::Program& p) {
    r.part(p.mm, "task_struct", "mm");
    r.part(p.pgd, "mm_struct", "pgd");
    r.part(p.arg_start, "mm_struct", "arg_start");
    r.part(p.arg_end, "mm_struct", "arg_end");
    r.part(p.exe_file, "mm_struct", "exe_file");
    r.part(p.path_mnt, "file", "f_path.mnt");
    r.part(p.path_dentry, "file", "f_path.dentry");
    r.part(p.d_parent, "dentry", "d_parent");
    r.part(p.d_name, "dentry", "d_name.name");
    r.part(p.d_unhashed, "dentry", "d_hash.pprev");
    r.part(p.mnt, "mount", "mnt");
    r.part(p.mnt_parent, "mount", "mnt_parent");
    r.part(p.mnt_mountpoint, "mount", "mnt_mountpoint");
    r.part(p.mnt_root, "vfsmount", "mnt_root");
  });
}

}  // namespace

Result<Layout> Layout::resolve(const TypeSource& types) {
  Layout layout;
  Resolver resolver(types);
  resolveTask(layout, resolver, types);
  resolveNamespaces(layout, resolver);
  resolveFiles(layout, resolver);
  resolveSock(layout, resolver);
  resolveSocketTables(layout, resolver);
  resolveNetwork(layout, resolver);
  resolveUnheld(layout, resolver, types);
  resolver.maybe(layout.pcpu_hot.current_task, "pcpu_hot", "current_task");
  resolveProcessViews(layout, resolver, types);
  resolver.maybe(layout.clock.timekeeper, "tk_data", "timekeeper");
  resolver.maybe(layout.clock.xtime_sec, "timekeeper", "xtime_sec");
  if (auto error = types.unanswered()) return tl::unexpected(std::move(*error));
  if (!resolver.needed().empty()) {
    return failure("LAYOUT_INCOMPLETE",
                   "The kernel's types lack what the walk needs: " + resolver.needed() + ".",
                   "Give the types of exactly this kernel (types); a kernel newer than 7.2 may have "
                   "renamed these members: report it.");
  }
  layout.missing = resolver.takeMissing();
  return layout;
}

}  // namespace xfilter
