/*
 * A network of its own behind the guest's: a veth pair, forwarding, and masquerade (iptables' nat table, by setsockopt: no
 * program of iptables is in the guest). A process in it, of a user, talks as lab_talk.c says, from 10.99.0.2, and is seen
 * from outside with the guest's own address.
 */
#define _GNU_SOURCE
#include "lab.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define INNER "inner"
#define OUTER "outer"

struct link_message {
  struct nlmsghdr header;
  struct ifinfomsg link;
  char attributes[256];
};

static struct rtattr *attribute(struct link_message *message, int type, const void *data, int length) {
  struct rtattr *added = (struct rtattr *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));
  added->rta_type = type;
  added->rta_len = RTA_LENGTH(length);
  if (length) memcpy(RTA_DATA(added), data, length);
  message->header.nlmsg_len = (char *)added - (char *)message + RTA_ALIGN(added->rta_len);
  return added;
}

static void nested_until_here(struct link_message *message, struct rtattr *nest) {
  nest->rta_len = (char *)message + message->header.nlmsg_len - (char *)nest;
}

/* OUTER here, INNER in the network of that process. */
static void make_pair(pid_t inner) {
  struct link_message message = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof message.link),
                                            .nlmsg_type = RTM_NEWLINK,
                                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL}};
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char rest[512];
  } reply;
  attribute(&message, IFLA_IFNAME, OUTER, sizeof OUTER);
  struct rtattr *info = attribute(&message, IFLA_LINKINFO, NULL, 0);
  attribute(&message, IFLA_INFO_KIND, "veth", 4);
  struct rtattr *data = attribute(&message, IFLA_INFO_DATA, NULL, 0);
  struct rtattr *peer = attribute(&message, VETH_INFO_PEER, &(struct ifinfomsg){0}, sizeof(struct ifinfomsg));
  attribute(&message, IFLA_IFNAME, INNER, sizeof INNER);
  attribute(&message, IFLA_NET_NS_PID, &inner, sizeof inner);
  nested_until_here(&message, peer);
  nested_until_here(&message, data);
  nested_until_here(&message, info);
  int fd = opened(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  must(send(fd, &message, message.header.nlmsg_len, 0), "netlink");
  must(recv(fd, &reply, sizeof reply, 0), "netlink");
  errno = -reply.error.error;
  if (errno) fail("veth");
  close(fd);
}

struct plain_rule { /* matches every packet */
  struct ipt_entry entry;
  struct xt_standard_target target;
};

struct masquerade_rule {
  struct ipt_entry entry;
  struct xt_entry_target target;
  struct nf_nat_ipv4_multi_range_compat range;
};

struct last_rule {
  struct ipt_entry entry;
  struct xt_error_target target;
};

/* The policies of the four chains, in the last of which MASQUERADE comes first, for what goes out of the NIC. */
static void masquerade(void) {
  static struct {
    struct ipt_replace head;
    struct plain_rule prerouting, input, output;
    struct masquerade_rule masquerade;
    struct plain_rule postrouting;
    struct last_rule last;
  } table;
  static struct xt_counters counters[8];
  struct plain_rule *accepts[] = {&table.prerouting, &table.input, &table.output, &table.postrouting};
  size_t start = sizeof table.head;
#define OFFSET(member) (offsetof(typeof(table), member) - start)
  struct ipt_getinfo info = {.name = "nat"};
  socklen_t length = sizeof info;
  int fd = opened(AF_INET, SOCK_RAW, IPPROTO_RAW);
  must(getsockopt(fd, SOL_IP, IPT_SO_GET_INFO, &info, &length), "the nat table");
  for (int i = 0; i < 4; i++) {
    accepts[i]->entry.target_offset = sizeof(struct ipt_entry);
    accepts[i]->entry.next_offset = sizeof(struct plain_rule);
    accepts[i]->target.target.u.target_size = sizeof(struct xt_standard_target);
    accepts[i]->target.verdict = -NF_ACCEPT - 1;
  }
  table.masquerade.entry.target_offset = sizeof(struct ipt_entry);
  table.masquerade.entry.next_offset = sizeof(struct masquerade_rule);
  strcpy(table.masquerade.entry.ip.outiface, "eth0");
  memset(table.masquerade.entry.ip.outiface_mask, 0xff, sizeof "eth0");
  table.masquerade.target.u.target_size = sizeof(struct masquerade_rule) - sizeof(struct ipt_entry);
  strcpy(table.masquerade.target.u.user.name, "MASQUERADE");
  table.masquerade.range.rangesize = 1;
  table.last.entry.target_offset = sizeof(struct ipt_entry);
  table.last.entry.next_offset = sizeof(struct last_rule);
  table.last.target.target.u.target_size = sizeof(struct xt_error_target);
  strcpy(table.last.target.target.u.user.name, "ERROR");
  strcpy(table.last.target.errorname, "ERROR");
  strcpy(table.head.name, "nat");
  table.head.valid_hooks = info.valid_hooks;
  table.head.num_entries = 6;
  table.head.size = sizeof table - start;
  table.head.num_counters = info.num_entries;
  table.head.counters = counters;
  table.head.hook_entry[NF_INET_PRE_ROUTING] = table.head.underflow[NF_INET_PRE_ROUTING] = OFFSET(prerouting);
  table.head.hook_entry[NF_INET_LOCAL_IN] = table.head.underflow[NF_INET_LOCAL_IN] = OFFSET(input);
  table.head.hook_entry[NF_INET_LOCAL_OUT] = table.head.underflow[NF_INET_LOCAL_OUT] = OFFSET(output);
  table.head.hook_entry[NF_INET_POST_ROUTING] = OFFSET(masquerade);
  table.head.underflow[NF_INET_POST_ROUTING] = OFFSET(postrouting);
  must(setsockopt(fd, SOL_IP, IPT_SO_SET_REPLACE, &table, sizeof table), "the nat table");
  close(fd);
}

int container(const char *path, char **arguments) {
  int apart[2], made[2];
  char byte = 0;
  must(pipe(apart), "pipe");
  must(pipe(made), "pipe");
  pid_t inside = must(fork(), "fork");
  if (inside == 0) {
    must(unshare(CLONE_NEWNET), "unshare");
    must(write(apart[1], &byte, 1), "write");
    must(read(made[0], &byte, 1), "read");
    bring_up("lo");
    bring_up(INNER);
    address_on(INNER, "10.99.0.2", 24);
    default_route(INNER, AF_INET);
    for (int i = 0; i < 2; i++) close(apart[i]), close(made[i]);
    return talk(path, arguments);
  }
  must(read(apart[0], &byte, 1), "read");
  make_pair(inside);
  bring_up(OUTER);
  address_on(OUTER, "10.99.0.1", 24);
  write_text("/proc/sys/net/ipv4/conf/" OUTER "/proxy_arp", "1"); /* the inside's default route names no gateway */
  write_text("/proc/sys/net/ipv4/ip_forward", "1");
  masquerade();
  must(write(made[1], &byte, 1), "write");
  return 0;
}
