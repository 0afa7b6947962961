/*
 * Tells of each TCP or UDP packet for a port that comes in from the device of a guest, and of each that goes out at another:
 *
 *   wire FROM TO PORT
 *
 * prints `came` or `went`, the time on the monotonic clock in nanoseconds, protocol, family, source port and bytes of payload.
 * Packet sockets see what comes in ahead of the hooks of netfilter, so what came and did not go was stopped between.
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static int watch(const char *device) {
  int fd = socket(AF_PACKET, SOCK_RAW, 0), yes = 1, room = 8 << 20;
  struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  at.sll_ifindex = (int)if_nametoindex(device);
  if (fd < 0 || at.sll_ifindex == 0 || setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof yes) != 0 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0 ||
      bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
    perror(device);
    exit(1);
  }
  return fd;
}

static int64_t nanoseconds(struct timespec time) { return time.tv_sec * 1000000000l + time.tv_nsec; }

/* The packet's own time, which the kernel gives on the wall clock. */
static int64_t arrival(struct msghdr *message) {
  struct timespec monotonic, wall, packet;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  clock_gettime(CLOCK_REALTIME, &wall);
  struct cmsghdr *part = CMSG_FIRSTHDR(message);
  if (!part || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS) return nanoseconds(monotonic);
  memcpy(&packet, CMSG_DATA(part), sizeof packet);
  return nanoseconds(monotonic) - (nanoseconds(wall) - nanoseconds(packet));
}

/* Without extension headers and fragments: the talkers have none. */
static void tell(const char *how, int64_t when, const unsigned char *frame, size_t length, int port) {
  size_t ip = ETH_HLEN, header, end;
  uint16_t type, ports[2], size;
  int protocol;
  if (length < ip + 40) return;
  memcpy(&type, frame + 12, 2);
  int family = type == htons(ETH_P_IP) ? 4 : type == htons(ETH_P_IPV6) ? 6 : 0;
  if (family == 0) return;
  memcpy(&size, frame + ip + (family == 4 ? 2 : 4), 2);
  protocol = frame[ip + (family == 4 ? 9 : 6)];
  header = ip + (family == 4 ? (frame[ip] & 15) * 4u : 40u);
  end = ip + ntohs(size) + (family == 4 ? 0 : 40);
  if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || length < header + 20) return;
  memcpy(ports, frame + header, 4);
  if (ntohs(ports[1]) != port) return;
  size_t payload = header + (protocol == IPPROTO_TCP ? (frame[header + 12] >> 4) * 4u : 8u);
  printf("%s %ld %s %d %d %zu\n", how, when, protocol == IPPROTO_TCP ? "tcp" : "udp", family, ntohs(ports[0]),
         end > payload ? end - payload : 0);
}

static void take(int fd, int outgoing, int port) {
  static unsigned char frame[4096];
  union {
    char bytes[CMSG_SPACE(sizeof(struct timespec))];
    struct cmsghdr align;
  } control;
  struct sockaddr_ll from;
  struct iovec vector = {frame, sizeof frame};
  struct msghdr message = {
      .msg_name = &from,
      .msg_namelen = sizeof from,
      .msg_iov = &vector,
      .msg_iovlen = 1,
      .msg_control = &control,
      .msg_controllen = sizeof control,
  };
  ssize_t length = recvmsg(fd, &message, 0);
  if (length <= 0 || (from.sll_pkttype == PACKET_OUTGOING) != outgoing) return;
  tell(outgoing ? "went" : "came", arrival(&message), frame, (size_t)length, port);
}

int main(int count, char **words) {
  if (count != 4) return 2;
  struct pollfd polled[] = {{watch(words[1]), POLLIN, 0}, {watch(words[2]), POLLIN, 0}};
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");
  while (poll(polled, 2, -1) > 0)
    for (int i = 0; i < 2; i++)
      if (polled[i].revents) take(polled[i].fd, i, atoi(words[3]));
  return 1;
}
