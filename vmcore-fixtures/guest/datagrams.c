/* Sockets without connections of their own: UDP, UDP-Lite, raw, ping; and those that no answer may contain. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

static void disconnect(int fd) {
  struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
  must(connect(fd, &nowhere, sizeof nowhere), "disconnect");
}

static void to_device(int fd, const char *device) {
  must(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device) + 1), "SO_BINDTODEVICE");
}

static void connect_to(int fd, const char *host, int port) {
  union address address = at(host, port);
  must(connect(fd, &address.any, length_of(&address)), host);
}

/* Both UDP and UDP-Lite, in both families: unbound, bound, connected, and what lies between. */
static void datagrams(int protocol, int port) {
  opened(AF_INET, SOCK_DGRAM, protocol);
  opened(AF_INET6, SOCK_DGRAM, protocol);
  bound(SOCK_DGRAM, protocol, "0.0.0.0", port);
  bound(SOCK_DGRAM, protocol, "127.0.0.1", port + 1);
  bound(SOCK_DGRAM, protocol, "::", port + 2);
  bound(SOCK_DGRAM, protocol, OWN6, port + 3);
  connect_to(bound(SOCK_DGRAM, protocol, OWN4, port + 4), AWAY4, 53);
  connect_to(bound(SOCK_DGRAM, protocol, OWN4, port + 5), "192.0.2.23", 53);
  connected(SOCK_DGRAM, protocol, AWAY4, 123);
  connected(SOCK_DGRAM, protocol, AWAY6, 53);
  connected(SOCK_DGRAM, protocol, "::ffff:192.0.2.24", 443);
  bound(SOCK_DGRAM, protocol, "::ffff:127.0.0.1", port + 6);
  disconnect(connected(SOCK_DGRAM, protocol, AWAY4, 123));
  disconnect(connected(SOCK_DGRAM, protocol, AWAY6, 123));
  int both_undone = bound(SOCK_DGRAM, protocol, "127.0.0.1", port + 7);
  connect_to(both_undone, "127.0.0.1", 9);
  disconnect(both_undone);
}

static void udp(void) { datagrams(IPPROTO_UDP, 3000); }

static void udp_special(void) {
  int only6 = opened(AF_INET6, SOCK_DGRAM, 0);
  union address wildcard = at("::", 3020);
  option(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  must(bind(only6, &wildcard.any, length_of(&wildcard)), "bind");
  bound(SOCK_DGRAM, 0, "0.0.0.0", 3020); /* beside it, as it is IPv6 only */
  bound(SOCK_DGRAM, 0, "239.1.2.3", 5353);
  bound(SOCK_DGRAM, 0, "ff05::fb", 5353);
  bound(SOCK_DGRAM, 0, "0.0.0.0", 65535);
  to_device(bound(SOCK_DGRAM, 0, "0.0.0.0", 3021), "lo");
  to_device(bound(SOCK_DGRAM, 0, "::", 3022), "dummy0");
  for (int i = 0; i < 3; i++) {
    int fd = opened(AF_INET, SOCK_DGRAM, 0);
    union address shared = at("127.0.0.1", 53000);
    option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    must(bind(fd, &shared.any, length_of(&shared)), "SO_REUSEPORT");
  }
  bound(SOCK_DGRAM, 0, "127.0.0.1", 60000);
}

/* Linux 7.1 did away with UDP-Lite. */
static void udplite(void) {
  int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
  if (fd == -1) return;
  close(fd);
  datagrams(IPPROTO_UDPLITE, 3100);
}

static void raw(void) {
  opened(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  opened(AF_INET, SOCK_RAW, IPPROTO_RAW);
  opened(AF_INET, SOCK_RAW, IPPROTO_TCP);
  opened(AF_INET, SOCK_RAW, 89);
  opened(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
  opened(AF_INET6, SOCK_RAW, IPPROTO_RAW);
  opened(AF_INET6, SOCK_RAW, 89);
  bound(SOCK_RAW, 253, OWN4, 0);
  bound(SOCK_RAW, 253, OWN6, 0);
  connected(SOCK_RAW, 254, AWAY4, 0);
  connected(SOCK_RAW, 254, AWAY6, 0);
  to_device(opened(AF_INET, SOCK_RAW, 252), "lo");
}

static void ping(void) {
  setgid(1100);
  setuid(1100);
  opened(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  opened(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6);
  bound(SOCK_DGRAM, IPPROTO_ICMP, "127.0.0.1", 4242);
  bound(SOCK_DGRAM, IPPROTO_ICMPV6, "::1", 4243);
  connected(SOCK_DGRAM, IPPROTO_ICMP, AWAY4, 0);
  connected(SOCK_DGRAM, IPPROTO_ICMPV6, AWAY6, 0);
}

/* Descriptors of every other kind: none of them may appear among the sockets. */
static void noise(void) {
  int pair[2];
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0abstract"};
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  sigset_t none;
  int fd = opened(AF_UNIX, SOCK_STREAM, 0);
  must(bind(fd, (struct sockaddr *)&name, sizeof name), "AF_UNIX");
  must(listen(fd, 4), "listen");
  must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
  must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), "socketpair");
  fd = opened(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  must(bind(fd, (struct sockaddr *)&kernel, sizeof kernel), "AF_NETLINK");
  opened(AF_PACKET, SOCK_RAW, 0);
  opened(AF_PACKET, SOCK_DGRAM, 0);
  socket(AF_VSOCK, SOCK_STREAM, 0);
  socket(AF_ALG, SOCK_SEQPACKET, 0);
  must(pipe(pair), "pipe");
  sigemptyset(&none);
  must(signalfd(-1, &none, 0), "signalfd");
  must(eventfd(0, 0), "eventfd");
  must(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd");
  must(inotify_init1(0), "inotify");
  must(memfd_create("noise", 0), "memfd");
  must(open("/proc/self/status", O_RDONLY), "open");
  must(open("/", O_PATH), "O_PATH");
  struct epoll_event event = {.events = EPOLLIN};
  must(epoll_ctl(must(epoll_create1(0), "epoll"), EPOLL_CTL_ADD, pair[0], &event), "epoll_ctl");
}

/* A listener that only a ring holds: registered, then closed. No descriptor table leads to it. */
static void in_ring(void) {
  struct io_uring_params parameters = {0};
  int ring = (int)syscall(SYS_io_uring_setup, 4, &parameters);
  if (ring == -1) return; /* a kernel may be built or set up without */
  int fd = listening(0, "127.0.0.1", 3200, 4);
  must(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &fd, 1), "IORING_REGISTER_FILES");
  unheld("io-uring", fd);
  close(fd);
}

void socket_actors(void) {
  actor("udp", udp);
  actor("udp-special", udp_special);
  actor("udplite", udplite);
  actor("raw", raw);
  actor("ping", ping);
  actor("noise", noise);
  actor("in-ring", in_ring);
}
