/* TCP in each of its states, in both families, and the connections that nobody holds. */
#define _GNU_SOURCE
#include "guest.h"

#include <netinet/tcp.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

static void listeners(void) {
  listening(0, "0.0.0.0", 5000, 4);
  listening(0, "127.0.0.1", 5001, 4);
  listening(0, OWN4, 5002, 4);
  listening(0, "::", 5003, 4);
  listening(0, "::1", 5004, 4);
  int only6 = opened(AF_INET6, SOCK_STREAM, 0);
  union address wildcard = at("::", 5005);
  option(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  must(bind(only6, &wildcard.any, length_of(&wildcard)), "bind");
  must(listen(only6, 4), "listen");
  listening(0, "0.0.0.0", 5005, 4); /* beside it, as it is IPv6 only */
  listening(0, "::ffff:127.0.0.1", 5006, 4);
  listening(0, "0.0.0.0", 65535, 4);
  int on_lo = opened(AF_INET, SOCK_STREAM, 0);
  union address any = at("0.0.0.0", 5007);
  must(setsockopt(on_lo, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), "SO_BINDTODEVICE");
  must(bind(on_lo, &any.any, length_of(&any)), "bind");
  must(listen(on_lo, 4), "listen");
  for (int i = 0; i < 2; i++) {
    int fd = opened(AF_INET, SOCK_STREAM, 0);
    union address shared = at("127.0.0.1", 50008);
    option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    must(bind(fd, &shared.any, length_of(&shared)), "SO_REUSEPORT");
    must(listen(fd, 4), "listen");
  }
}

static void pair(const char *listener, const char *client, int port) {
  int fd = listening(0, listener, port, 4);
  connected(SOCK_STREAM, 0, client, port);
  accepted(fd);
}

static void both_ends(void) {
  pair("127.0.0.1", "127.0.0.1", 5100);
  pair("::1", "::1", 5101);
  pair("::", "127.0.0.1", 5102); /* the accepted end is IPv6, its addresses are mapped IPv4 */
  pair("::", "::ffff:127.0.0.1", 5103);
  pair("0.0.0.0", OWN4, 5104);
  pair("::", OWN6, 5105);
}

/* One local port, several destinations. */
static void same_port(void) {
  established(OWN4, 45000, "192.0.2.31", 22);
  established(OWN4, 45000, "192.0.2.31", 443);
  established(OWN4, 45000, "192.0.2.32", 22);
  established(OWN6, 45000, "2001:db8:31::1", 22);
  established(OWN6, 45000, "2001:db8:31::2", 22);
  struct peer mapped = established("::ffff:" OWN4, 45001, "::ffff:192.0.2.33", 22);
  (void)mapped;
}

static void syn_sent(void) {
  connected(SOCK_STREAM, 0, AWAY4, 5200);
  connected(SOCK_STREAM, 0, AWAY6, 5200);
  connected(SOCK_STREAM, 0, "::ffff:192.0.2.40", 5200);
}

static void closing_states(const char *own, const char *away, int port) {
  struct peer peer = established(own, port, away, 443);
  shutdown(peer.fd, SHUT_WR); /* FIN_WAIT1: no acknowledgement will come */

  peer = established(own, port + 1, away, 443);
  shutdown(peer.fd, SHUT_WR);
  peer.own_sequence++;
  peer_says(&peer, SEGMENT_ACK); /* FIN_WAIT2 */

  peer = established(own, port + 2, away, 443);
  peer_says(&peer, SEGMENT_FIN | SEGMENT_ACK); /* CLOSE_WAIT */

  peer = established(own, port + 3, away, 443);
  peer_says(&peer, SEGMENT_FIN | SEGMENT_ACK);
  shutdown(peer.fd, SHUT_WR); /* LAST_ACK */

  peer = established(own, port + 4, away, 443);
  shutdown(peer.fd, SHUT_WR);
  peer_says(&peer, SEGMENT_FIN | SEGMENT_ACK); /* CLOSING: its FIN, without the acknowledgement of ours */
}

static void closing(void) {
  closing_states(OWN4, AWAY4, 5300);
  closing_states(OWN6, AWAY6, 5310);
}

static void half_closed(void) {
  int listener = listening(0, "127.0.0.1", 5320, 4);
  shutdown(connected(SOCK_STREAM, 0, "127.0.0.1", 5320), SHUT_WR);
  accepted(listener);
}

static void closed(void) {
  struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
  struct linger hard = {1, 0};
  opened(AF_INET, SOCK_STREAM, 0);
  opened(AF_INET6, SOCK_STREAM, 0);
  bound(SOCK_STREAM, 0, "127.0.0.1", 5400);
  bound(SOCK_STREAM, 0, "::1", 5401);
  bound(SOCK_STREAM, 0, "0.0.0.0", 5402);

  int listener = listening(0, "127.0.0.1", 5403, 4);
  connected(SOCK_STREAM, 0, "127.0.0.1", 5403);
  int fd = accepted(listener);
  must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), "SO_LINGER");
  close(fd); /* the client is reset */

  fd = connected(SOCK_STREAM, 0, "127.0.0.1", 5403);
  must(connect(fd, &nowhere, sizeof nowhere), "disconnect");
  close(accepted(listener));

  fd = listening(0, "127.0.0.1", 5404, 4);
  shutdown(fd, SHUT_RD); /* a listener no more */
  connected(SOCK_STREAM, 0, "127.0.0.1", 5405); /* refused */
}

/* A full accept queue; what waits in it has no file, no inode and no owner. */
static void backlog(void) {
  listening(0, "127.0.0.1", 5500, 1);
  for (int i = 0; i < 4; i++) connected(SOCK_STREAM, 0, "127.0.0.1", 5500);
  listening(0, "::", 5501, 1);
  for (int i = 0; i < 3; i++) connected(SOCK_STREAM, 0, "::1", 5501);
}

/* Gone before it was accepted: what waits in the queue has heard so. */
static void closed_in_queue(void) {
  listening(0, "127.0.0.1", 5502, 4);
  close(connected(SOCK_STREAM, 0, "127.0.0.1", 5502));
  setfsuid(1003);
  listening(0, "127.0.0.1", 5503, 4);
  unheld_uid(5503, 1003); /* it inherits from its listener */
  connected(SOCK_STREAM, 0, "127.0.0.1", 5503);
}

/* Half open: a SYN from afar, to which our answer is lost. */
static void syn_received(void) {
  listening(0, "0.0.0.0", 5510, 4);
  listening(0, "::", 5511, 4);
  setfsuid(1003);
  listening(0, OWN4, 5513, 4);
  union address own4 = at(OWN4, 5510), own6 = at(OWN6, 5511), away4 = at(AWAY4, 5512), away6 = at(AWAY6, 5512);
  union address mapped = at(OWN4, 5511), of_user = at(OWN4, 5513);
  inject(&away4, &own4, 7000, 0, SEGMENT_SYN);
  inject(&away6, &own6, 7000, 0, SEGMENT_SYN);
  inject(&away4, &mapped, 7000, 0, SEGMENT_SYN);
  inject(&away4, &of_user, 7000, 0, SEGMENT_SYN);
}

static void time_wait(const char *listener_host, const char *host, int port) {
  int listener = listening(0, listener_host, port, 4);
  int client = connected(SOCK_STREAM, 0, host, port);
  int server = accepted(listener);
  close(client);
  close(server);
  close(listener);
}

/* Closed by their holder, not yet by TCP. */
static void orphans(void) {
  close(established(OWN4, 5520, AWAY4, 443).fd); /* in FIN_WAIT1 */
  close(established(OWN6, 5521, AWAY6, 443).fd);
  struct peer peer = established(OWN4, 5522, AWAY4, 443);
  peer_says(&peer, SEGMENT_FIN | SEGMENT_ACK);
  close(peer.fd); /* in LAST_ACK */
  peer = established(OWN4, 5526, AWAY4, 443);
  close(peer.fd);
  peer_says(&peer, SEGMENT_FIN | SEGMENT_ACK); /* in CLOSING */
  peer = established(OWN6, 5527, AWAY6, 443);
  option(peer.fd, IPPROTO_TCP, TCP_LINGER2, 115); /* a whole socket for 55 s, then a mini-socket */
  shutdown(peer.fd, SHUT_WR);
  peer.own_sequence++;
  peer_says(&peer, SEGMENT_ACK);
  close(peer.fd); /* in FIN_WAIT2 */

  setfsuid(1003);
  char queue[20000] = {0};
  peer = established(OWN4, 5528, AWAY4, 22);
  must(write(peer.fd, queue, sizeof queue), "write");
  close(peer.fd); /* the user's, with a queue that it goes on sending */
  unheld_uid(5528, 1003);
}

static void mini_sockets(void) {
  struct peer peer = established(OWN4, 5523, AWAY4, 443);
  close(peer.fd);
  peer.own_sequence++;
  peer_says(&peer, SEGMENT_ACK); /* says TIME_WAIT and means FIN_WAIT2 */
  time_wait("127.0.0.1", "127.0.0.1", 5524);
  time_wait("127.0.0.1", "127.0.0.1", 5525);
  time_wait("::1", "::1", 5529);
  time_wait("::", "::ffff:127.0.0.1", 5530);
  setfsuid(1003);
  time_wait("::", "127.0.0.1", 5531);
}

void tcp_actors(void) {
  actor("listeners", listeners);
  actor("both-ends", both_ends);
  actor("same-port", same_port);
  actor("syn-sent", syn_sent);
  actor("closing", closing);
  actor("half-closed", half_closed);
  actor("closed", closed);
  actor("backlog", backlog);
  actor("syn-received", syn_received);
  actor("closed-in-queue", closed_in_queue);
  actor("orphans", orphans); /* these last: time-wait ends after a minute */
  actor("mini-sockets", mini_sockets);
}
