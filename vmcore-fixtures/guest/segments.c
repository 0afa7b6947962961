/*
 * TCP connections to a peer that does not exist. TCP_REPAIR makes them established without a packet; what the peer
 * "says" next is a segment that we put on the loopback device ourselves. So CLOSING, LAST_ACK and SYN_RECV stand still.
 */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

struct peer established(const char *own, int own_port, const char *away, int away_port) {
  struct peer peer = {.own = at(own, own_port), .away = at(away, away_port), .own_sequence = 1000, .away_sequence = 9000};
  peer.fd = opened(peer.own.any.sa_family, SOCK_STREAM, 0);
  option(peer.fd, SOL_SOCKET, SO_REUSEADDR, 1);
  option(peer.fd, IPPROTO_TCP, TCP_REPAIR, 1);
  option(peer.fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE);
  option(peer.fd, IPPROTO_TCP, TCP_QUEUE_SEQ, peer.own_sequence);
  option(peer.fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE);
  option(peer.fd, IPPROTO_TCP, TCP_QUEUE_SEQ, peer.away_sequence);
  must(bind(peer.fd, &peer.own.any, length_of(&peer.own)), "bind");
  must(connect(peer.fd, &peer.away.any, length_of(&peer.away)), "connect in repair mode");
  option(peer.fd, IPPROTO_TCP, TCP_REPAIR, -1); /* off, without a window probe */
  peer_says(&peer, SEGMENT_ACK);                /* opens the window: without it a FIN would never be sent */
  return peer;
}

static uint32_t sum(const void *data, size_t length, uint32_t total) {
  const uint8_t *bytes = data;
  for (size_t i = 0; i + 1 < length; i += 2) total += bytes[i] << 8 | bytes[i + 1];
  return total;
}

static uint16_t folded(uint32_t total) {
  while (total >> 16) total = (total & 0xffff) + (total >> 16);
  return htons(~total);
}

void inject(const union address *from, const union address *to, uint32_t sequence, uint32_t ack, int flags) {
  int is6 = from->any.sa_family == AF_INET6;
  struct {
    union {
      struct ip ip;
      struct ip6_hdr ip6;
    };
  } header = {0};
  struct tcphdr tcp = {0};
  uint8_t packet[sizeof header + sizeof tcp];
  size_t header_length = is6 ? sizeof header.ip6 : sizeof header.ip;

  tcp.source = is6 ? from->in6.sin6_port : from->in.sin_port;
  tcp.dest = is6 ? to->in6.sin6_port : to->in.sin_port;
  tcp.seq = htonl(sequence);
  tcp.ack_seq = htonl(ack);
  tcp.doff = sizeof tcp / 4;
  tcp.th_flags = flags;
  tcp.window = htons(65535);
  uint32_t total = IPPROTO_TCP + sizeof tcp;
  if (is6) {
    header.ip6.ip6_vfc = 6 << 4;
    header.ip6.ip6_plen = htons(sizeof tcp);
    header.ip6.ip6_nxt = IPPROTO_TCP;
    header.ip6.ip6_hlim = 64;
    header.ip6.ip6_src = from->in6.sin6_addr;
    header.ip6.ip6_dst = to->in6.sin6_addr;
    total = sum(&header.ip6.ip6_src, 32, total);
  } else {
    header.ip.ip_v = 4;
    header.ip.ip_hl = 5;
    header.ip.ip_ttl = 64;
    header.ip.ip_p = IPPROTO_TCP;
    header.ip.ip_src = from->in.sin_addr;
    header.ip.ip_dst = to->in.sin_addr;
    total = sum(&header.ip.ip_src, 8, total);
  }
  tcp.check = folded(sum(&tcp, sizeof tcp, total));
  memcpy(packet, &header, header_length);
  memcpy(packet + header_length, &tcp, sizeof tcp);

  union address destination = *to;
  *(is6 ? &destination.in6.sin6_port : &destination.in.sin_port) = 0; /* raw IPv6 sockets refuse a port */
  int fd = opened(from->any.sa_family, SOCK_RAW, IPPROTO_RAW);
  must(sendto(fd, packet, header_length + sizeof tcp, 0, &destination.any, length_of(&destination)), "injected segment");
  close(fd);
}

void peer_says(const struct peer *peer, int flags) {
  inject(&peer->away, &peer->own, peer->away_sequence, peer->own_sequence, flags);
}
