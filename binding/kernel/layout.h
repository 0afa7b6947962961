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
    Optional loginuid, sessionid, nsproxy, thread_pid, on_cpu, group_leader;
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
    Optional hdrincl;     // until 6.5
    Optional inet_flags;  // since 6.6
  } inet_sock;

  /// Of CONFIG_MPTCP kernels only.
  struct Mptcp {
    Field conn_list, first;  // struct mptcp_sock
    Optional join_list;      // struct mptcp_sock
    Field node, tcp_sock;    // struct mptcp_subflow_context
  };
  std::optional<Mptcp> mptcp;

  /// Of kernels from 6.2 to 6.14 only.
  struct {
    Optional current_task;
  } pcpu_hot;

  /// The kernel's clock, kernel_clock.h: that it is missing costs nothing but a choice between kernels.
  struct {
    Optional timekeeper;  // struct tk_data
    Optional xtime_sec;   // struct timekeeper
  } clock;
  /// Where the kernel keeps sockets, whoever holds them. Each part is there or not as a whole.
  struct SocketTables {
    Field next, pprev;      // struct hlist_node; hlist_nulls_node has them in the same places
    Field node, bind_node;  // struct sock_common: skc_node, which skc_nulls_node shares; skc_bind_node
    Field net;              // struct net: list
    Optional hashinfo;  // struct net: ipv4.tcp_death_row.hashinfo; one for all namespaces where it is missing
    Optional udp_table;  // struct net: ipv4.udp_table, since 6.2
  };
  std::optional<SocketTables> tables;

  struct TcpTables {
    Field ehash, ehash_mask, bhash, bhash_size;   // struct inet_hashinfo
    Optional listening_hash;                      // until 5.18
    Optional lhash2, lhash2_mask;                 // instead of it since
    Field listen_head;                            // struct inet_listen_hashbucket: nulls_head, once head
    Field bind_chain;                             // struct inet_bind_hashbucket: chain
    Field bind_node;                              // struct inet_bind_bucket: node
    Optional owners;                              // struct inet_bind_bucket: owners, until 6.7
    Optional bhash2, bhash_node, owners2;         // since, through struct inet_bind2_bucket
    uint32_t listen_bucket = 0, bind_bucket = 0;  // sizes
    Field tw_substate, tw_sport;                  // struct inet_timewait_sock
    Field listener;                               // struct sock_common: skc_listener, of a request_sock
  };
  std::optional<TcpTables> tcp;

  struct UdpTable {
    Field hash, mask, head;  // struct udp_table; struct udp_hslot: head
    uint32_t slot = 0;       // its size
  };
  std::optional<UdpTable> udp;

  Optional raw_table;   // struct raw_hashinfo: ht
  Optional ping_table;  // struct ping_table: hash

  /// The network devices of a namespace, and their addresses.
  struct NetDevices {
    Field dev_base_head;            // struct net
    Field dev_list, name, ifindex;  // struct net_device
    Optional dev_addr, addr_len;    // struct net_device
    Optional parent;                // struct net_device: dev.parent
  };
  struct Ipv4Addresses {
    Field ip_ptr;                        // struct net_device
    Field dev, ifa_list;                 // struct in_device
    Field ifa_next, ifa_dev, ifa_local;  // struct in_ifaddr
  };
  struct Ipv6Addresses {
    Field ip6_ptr;              // struct net_device
    Field dev, addr_list;       // struct inet6_dev
    Field if_list, idev, addr;  // struct inet6_ifaddr
  };
  struct Network {
    std::optional<NetDevices> devices;
    std::optional<Ipv4Addresses> ipv4;
    std::optional<Ipv6Addresses> ipv6;
  } network;

  /// What tells why no process holds a socket.
  struct {
    Optional flags;        // struct sock_common: skc_flags
    uint32_t deadBit = 0;  // SOCK_DEAD
    Optional is_mptcp;     // struct tcp_sock
    Optional ulp_data;     // struct inet_connection_sock: icsk_ulp_data
    Optional conn;         // struct mptcp_subflow_context
  } unheld;

  /// Files inside messages of UNIX sockets.
  struct InFlight {
    Optional buckets;        // struct net: unx.table.buckets, since 6.0; unix_socket_table before
    Field receive_queue;     // struct sock: sk_receive_queue
    Field skb_list, skb_cb;  // struct sk_buff
    Field fp;                // struct unix_skb_parms
    Field count, files;      // struct scm_fp_list
  };
  std::optional<InFlight> inFlight;

  /// Files that an io_uring instance has registered.
  struct IoUring {
    Optional nodes, nr, node_file;        // since 6.13: io_ring_ctx.file_table.data, io_rsrc_node.file_ptr
    Optional files, nr_user_files;        // before: io_ring_ctx.file_table.files, io_fixed_file.file_ptr
    Optional io_uring, registered_rings;  // struct task_struct, struct io_uring_task
  } ioUring;

  /// The pid table of a namespace: an xarray of struct pid since 4.20.
  struct PidTable {
    Field xa_head;           // struct pid_namespace: idr.idr_rt.xa_head
    Field shift, slots;      // struct xa_node
    Field tasks;             // struct pid
    Field pid_links;         // struct task_struct
    uint32_t tgidIndex = 0;  // PIDTYPE_TGID
  };
  std::optional<PidTable> pidTable;

  /// The path of a process's group in the cgroup v2 hierarchy.
  struct Cgroup {
    Field cgroups;       // struct task_struct
    Field dfl_cgrp;      // struct css_set
    Field kn;            // struct cgroup
    Field name, parent;  // struct kernfs_node: name; __parent since 6.15, parent before
  };
  std::optional<Cgroup> cgroup;

  /// What a process was started as.
  struct Program {
    Field mm;                                 // struct task_struct
    Field pgd, arg_start, arg_end, exe_file;  // struct mm_struct
    Field path_mnt, path_dentry;              // struct file: f_path.mnt, f_path.dentry
    Field d_parent, d_name, d_unhashed;       // struct dentry: d_parent, d_name.name, d_hash.pprev
    Field mnt, mnt_parent, mnt_mountpoint;    // struct mount
    Field mnt_root;                           // struct vfsmount
  };
  std::optional<Program> program;

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
