/* Senders that no flow can name: whole frames, other transports, packets with a header of the sender's own. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/vm_sockets.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <unistd.h>

static void packets(void) {
  struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
  int fd = opened(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  place.sll_ifindex = (int)if_nametoindex("dummy0");
  must(bind(fd, (struct sockaddr *)&place, sizeof place), "AF_PACKET");
  must(dup(fd), "dup");
  opened(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
  opened(AF_PACKET, SOCK_RAW, 0); /* hears nothing, and can send all the same */
}

/* To the hypervisor, past every network. */
static void vsock(void) {
  struct sockaddr_vm anybody = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = 7000};
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd == -1) return;
  must(bind(fd, (struct sockaddr *)&anybody, sizeof anybody), "AF_VSOCK");
  must(listen(fd, 4), "listen");
  opened(AF_VSOCK, SOCK_STREAM, 0);
}

static void sctp(void) {
  int fd = socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
  if (fd == -1) return;
  close(fd);
  listening(IPPROTO_SCTP, "127.0.0.1", 7010, 4);
  connected(SOCK_STREAM, IPPROTO_SCTP, "127.0.0.1", 7010);
  bound(SOCK_SEQPACKET, IPPROTO_SCTP, "::", 7011);
  connected(SOCK_STREAM, IPPROTO_SCTP, AWAY4, 7012);
}

static void xdp(void) { socket(AF_XDP, SOCK_RAW, 0); }

/* The last kernel with DCCP is 6.15. */
static void dccp(void) {
  int fd = socket(AF_INET, SOCK_DCCP, IPPROTO_DCCP);
  if (fd == -1) return;
  union address own = at("127.0.0.1", 7020);
  must(bind(fd, &own.any, length_of(&own)), "bind");
}

/* A listener of SMC has a TCP socket of the kernel's beneath it. Since 6.12 there are two ways to ask for one. */
static void smc(void) {
  int fds[] = {socket(AF_SMC, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 256)};
  for (int i = 0; i < 2; i++) {
    union address own = at("127.0.0.1", 7030 + i);
    if (fds[i] == -1) continue;
    must(bind(fds[i], &own.any, length_of(&own)), "bind");
    must(listen(fds[i], 4), "listen");
    unheld_port("kernel", IPPROTO_TCP, 7030 + i);
  }
}

static void own_headers(void) {
  opened(AF_INET, SOCK_RAW, IPPROTO_RAW); /* implies it */
  option(opened(AF_INET, SOCK_RAW, IPPROTO_UDP), IPPROTO_IP, IP_HDRINCL, 1);
  option(opened(AF_INET, SOCK_RAW, IPPROTO_ICMP), IPPROTO_IP, IP_HDRINCL, 0);
  opened(AF_INET6, SOCK_RAW, IPPROTO_RAW);
  option(opened(AF_INET6, SOCK_RAW, 90), IPPROTO_IPV6, IPV6_HDRINCL, 1);
}

static void as_user(void) {
  must(setresuid(1003, 1003, 1003), "setresuid");
}

static void shared_packets(void) {
  opened(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
  actor("packet-child", as_user);
}

void sender_actors(void) {
  actor("packets", packets);
  actor("vsock", vsock);
  actor("sctp", sctp);
  actor("xdp", xdp);
  actor("dccp", dccp);
  actor("smc", smc);
  actor("own-headers", own_headers);
  actor("packet-parent", shared_packets);
}
