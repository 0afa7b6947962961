/* Multipath TCP: one socket for the process, one or several TCP sockets beneath it. */
#define _GNU_SOURCE
#include "guest.h"
#include "netlink.h"

#include <linux/mptcp.h>
#include <sched.h>
#include <unistd.h>

/* 5.10 has no MPTCP as Debian builds it. */
static int supported(void) {
  int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  if (fd != -1) close(fd);
  return fd != -1;
}

static void pair(const char *host, int port, int client_protocol, int server_protocol) {
  int listener = listening(server_protocol, host, port, 4);
  connected(SOCK_STREAM, client_protocol, host, port);
  accepted(listener);
}

static void mptcp(void) {
  pair("127.0.0.1", 4000, IPPROTO_MPTCP, IPPROTO_MPTCP);
  pair("::1", 4001, IPPROTO_MPTCP, IPPROTO_MPTCP);
  pair("127.0.0.1", 4002, IPPROTO_TCP, IPPROTO_MPTCP);
  pair("127.0.0.1", 4003, IPPROTO_MPTCP, IPPROTO_TCP);
  listening(IPPROTO_MPTCP, "::", 4004, 4);
  connected(SOCK_STREAM, IPPROTO_MPTCP, AWAY4, 4005);
  opened(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
}

/* Tells the path manager of this network namespace to open a second subflow from `host`. */
static void second_path(const char *host) {
  char answer[4096];
  union address address = at(host, 0);
  uint32_t two = 2, flags = MPTCP_PM_ADDR_FLAG_SUBFLOW;
  uint16_t family = AF_INET;
  uint8_t id = 1;
  int fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), "NETLINK_GENERIC");
  int manager = netlink_family(fd, MPTCP_PM_NAME);

  struct message limits = message_for(manager, MPTCP_PM_CMD_SET_LIMITS, MPTCP_PM_VER);
  attribute(&limits, MPTCP_PM_ATTR_SUBFLOWS, &two, sizeof two);
  exchange(fd, &limits, answer, sizeof answer);

  struct message endpoint = message_for(manager, MPTCP_PM_CMD_ADD_ADDR, MPTCP_PM_VER);
  struct nlattr *nest = attribute(&endpoint, MPTCP_PM_ATTR_ADDR | NLA_F_NESTED, NULL, 0);
  attribute(&endpoint, MPTCP_PM_ADDR_ATTR_FAMILY, &family, sizeof family);
  attribute(&endpoint, MPTCP_PM_ADDR_ATTR_ID, &id, sizeof id);
  attribute(&endpoint, MPTCP_PM_ADDR_ATTR_FLAGS, &flags, sizeof flags);
  attribute(&endpoint, MPTCP_PM_ADDR_ATTR_ADDR4, &address.in.sin_addr, sizeof address.in.sin_addr);
  nest->nla_len = (char *)&endpoint + endpoint.header.nlmsg_len - (char *)nest;
  exchange(fd, &endpoint, answer, sizeof answer);
  close(fd);
}

/* Two subflows in one socket. The second is opened once data have gone both ways. */
static void joined(void) {
  char byte = 0;
  bring_up("lo");
  second_path("127.0.0.2");
  int listener = listening(IPPROTO_MPTCP, "0.0.0.0", 4100, 4);
  int client = connected(SOCK_STREAM, IPPROTO_MPTCP, "127.0.0.1", 4100);
  int server = accepted(listener);
  for (int i = 0; i < 3; i++) {
    must(write(client, &byte, 1), "write");
    must(read(server, &byte, 1), "read");
    must(write(server, &byte, 1), "write");
    usleep(50 * 1000);
    must(read(client, &byte, 1), "read");
  }
}

void mptcp_actors(void) {
  if (!supported()) return;
  actor("mptcp", mptcp);
  actor_flags("mptcp-joined", joined, CLONE_NEWNET);
}
