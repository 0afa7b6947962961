#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernel/type_source.h"
#include "memory/result.h"

namespace xfilter {

/// Every structure offset that the walk needs, resolved once. The names are the kernel's. What is optional
/// here is missing in some kernels that we read; it then costs what `MissingMember` says, never the walk.
struct Layout {
  using Field = xfilter::Field;
  using Optional = std::optional<xfilter::Field>;

  struct {
    Field next, prev;
  } list_head;

  struct {
    Field tasks, thread_node, pid, tgid, flags, exit_state, comm, real_parent, real_cred, signal, files;
    Field state;  // __state since 5.14 (2f064a59a11f), state before
    Optional loginuid, sessionid, nsproxy, thread_pid, on_cpu;
    Optional cpu;        // thread_info.cpu since 5.16, cpu before
    Optional startTime;  // start_boottime since 5.5, real_start_time before
  } task_struct;

  struct {
    Field thread_head, nr_threads;
    Optional pids;
    uint32_t sessionIndex = 0;  // PIDTYPE_SID
  } signal_struct;

  struct {
    Field uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
  } cred;

  struct {
    Field level, numbers;
    Field nr, ns;       // of struct upid
    uint32_t upid = 0;  // its size
  } pid;

  struct {
    Optional net_ns;
  } nsproxy;

  struct {
    Optional netInum;  // struct net: ns.inum
    Optional pidInum;  // struct pid_namespace: ns.inum
  } ns_common;

  struct {
    Field fdt;
  } files_struct;

  struct {
    Field max_fds, fd, open_fds;
  } fdtable;

  struct {
    Field f_op, private_data;
  } file;

  struct {
    Field file, sk;
    Field inode;   // struct socket_alloc: vfs_inode.i_ino
    Field socket;  // struct socket_alloc: socket
  } socket;

  struct {
    Field family, state, daddr, rcv_saddr, num;
    Optional bound_dev_if, net, v6_daddr, v6_rcv_saddr, ipv6only;
    Field type, protocol, socket;
    Optional uid;
  } sock;

  struct {
    Field sport, dport;
  } inet_sock;

  /// Of CONFIG_MPTCP kernels only.
  struct Mptcp {
    Field conn_list, first;  // struct mptcp_sock
    Field node, tcp_sock;    // struct mptcp_subflow_context
  };
  std::optional<Mptcp> mptcp;

  /// The kernel's clock, kernel_clock.h: that it is missing costs nothing but a choice between kernels.
  struct {
    Optional timekeeper;  // struct tk_data
    Optional xtime_sec;   // struct timekeeper
  } clock;

  /// A member that the types do not have, and what its absence costs.
  struct MissingMember {
    std::string member;
    std::string costs;
  };
  std::vector<MissingMember> missing;

  /// LAYOUT_INCOMPLETE names each member that is needed and missing.
  static Result<Layout> resolve(const TypeSource& types);
};

}  // namespace xfilter
