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
      if (const auto found = types_.field(type, path)) return found;
    }
    return std::nullopt;
  }

  const TypeSource& types_;
  std::string needed_;
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

  const auto optional = [&r](std::string_view type, std::string_view path) {
    std::optional<Field> field;
    r.want(field, type, path, "TCP subflows of MPTCP sockets (CONFIG_MPTCP=n)");
    return field;
  };
  const auto connList = optional("mptcp_sock", "conn_list");
  const auto first = optional("mptcp_sock", "first");
  const auto node = optional("mptcp_subflow_context", "node");
  const auto tcpSock = optional("mptcp_subflow_context", "tcp_sock");
  if (connList && first && node && tcpSock) layout.mptcp = Layout::Mptcp{*connList, *first, *node, *tcpSock};
}

}  // namespace

Result<Layout> Layout::resolve(const TypeSource& types) {
  Layout layout;
  Resolver resolver(types);
  resolveTask(layout, resolver, types);
  resolveNamespaces(layout, resolver);
  resolveFiles(layout, resolver);
  resolveSock(layout, resolver);
  resolver.maybe(layout.clock.timekeeper, "tk_data", "timekeeper");
  resolver.maybe(layout.clock.xtime_sec, "timekeeper", "xtime_sec");
  if (!resolver.needed().empty()) {
    return failure(
        "LAYOUT_INCOMPLETE", "The kernel's types lack what the walk needs: " + resolver.needed() + ".",
        "Give the BTF of exactly this kernel (types.btf, --types-btf); a kernel newer than 7.2 may have "
        "renamed these members: report it.");
  }
  layout.missing = resolver.takeMissing();
  return layout;
}

}  // namespace xfilter
