/*
 * Sends back what it gets, and keeps account of each flow: when its first and last bytes came in, how many, and whether they are
 * what they have to be. Times are those of the packets' arrival (SO_TIMESTAMPNS), on the monotonic clock.
 *
 *   on=tcp4:22,udp6:22   where it listens, on every address
 *   uid=, comm=          who it is when it opens the sockets
 *
 * It is asked for `report`, or to `stop`.
 */
#define _GNU_SOURCE
#include "lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LISTENERS = 16, OPEN = 1024, CHUNK = 4096, LATE = 16 };

/* What was heard of one flow. */
struct heard {
  struct endpoint endpoint;
  union address from;
  uint32_t uid;
  uint64_t flow;
  int64_t first, last;
  uint64_t bytes, gaps, wrong; /* gaps: datagrams that were passed over; wrong: bytes that are another's */
  uint64_t missing[LATE]; /* of those that were passed over the last ones, by number + 1: they may come yet */
  const char *state;
};

/* A connection that is not over, and what of it has not gone back yet. */
struct connection {
  int fd;
  size_t heard;
  char back[CHUNK];
  size_t length, gone;
};

static struct {
  int fd;
  struct endpoint endpoint;
} listeners[LISTENERS];
static int listener_count;
static struct heard *all;
static size_t all_count;
static struct connection connections[OPEN];
static int connection_count;

static size_t heard_of(struct endpoint endpoint, const union address *from) {
  if (all_count % 256 == 0) all = realloc(all, (all_count + 256) * sizeof *all);
  if (!all) fail("memory");
  all[all_count] = (struct heard){.endpoint = endpoint, .from = *from, .state = "open"};
  return all_count++;
}

static void listen_on(const char *text) {
  struct endpoint endpoint = endpoint_of(text);
  union address address = at(endpoint.family == AF_INET6 ? "::" : "0.0.0.0", endpoint.port);
  int fd = opened(endpoint.family, endpoint.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  option(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
  if (endpoint.family == AF_INET6) option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  must(bind(fd, &address.any, length_of(&address)), text);
  if (endpoint.type == SOCK_STREAM) must(listen(fd, 128), "listen");
  if (listener_count == LISTENERS) fail("listeners");
  listeners[listener_count].fd = fd;
  listeners[listener_count++].endpoint = endpoint;
}

/* The packet's own time, which the kernel gives on the wall clock. */
static int64_t arrival(struct msghdr *message) {
  struct timespec wall, packet;
  int64_t now = monotonic();
  clock_gettime(CLOCK_REALTIME, &wall);
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPNS) continue;
    memcpy(&packet, CMSG_DATA(part), sizeof packet);
    return now - (wall.tv_sec - packet.tv_sec) * 1000000000l - (wall.tv_nsec - packet.tv_nsec);
  }
  return now;
}

static ssize_t receive(int fd, void *bytes, size_t size, union address *from, int64_t *when) {
  union {
    char bytes[CMSG_SPACE(sizeof(struct timespec))];
    struct cmsghdr align;
  } control;
  struct iovec vector = {bytes, size};
  struct msghdr message = {
      .msg_name = from,
      .msg_namelen = sizeof *from,
      .msg_iov = &vector,
      .msg_iovlen = 1,
      .msg_control = &control,
      .msg_controllen = sizeof control,
  };
  ssize_t length = recvmsg(fd, &message, 0);
  if (length > 0) *when = arrival(&message);
  return length;
}

static void note(struct heard *heard, int64_t when, size_t bytes) {
  if (heard->first == 0) heard->first = when;
  heard->last = when;
  heard->bytes += bytes;
}

/*
 * A kernel that has just learned its neighbour's address sends what waited for that beside what comes: of the first datagrams one may
 * pass another. That is no loss.
 */
static void pass_over(struct heard *heard, uint64_t from, uint64_t to) {
  heard->gaps += to - from;
  for (uint64_t i = to > LATE && to - LATE > from ? to - LATE : from; i < to; i++) heard->missing[i % LATE] = i + 1;
}

static int was_missing(struct heard *heard, uint64_t sequence) {
  if (heard->missing[sequence % LATE] != sequence + 1) return 0;
  heard->missing[sequence % LATE] = 0;
  heard->gaps--;
  return 1;
}

static void take_datagram(int fd, struct endpoint endpoint) {
  struct record record;
  union address from;
  int64_t when;
  while (receive(fd, &record, sizeof record, &from, &when) == sizeof record) {
    size_t i = 0;
    if (!is_record(&record)) continue;
    while (i < all_count && !(all[i].flow == record.flow && all[i].uid == record.uid &&
                              all[i].endpoint.port == endpoint.port && all[i].endpoint.type == SOCK_DGRAM))
      i++;
    if (i == all_count) {
      i = heard_of(endpoint, &from);
      all[i].uid = record.uid;
      all[i].flow = record.flow;
    }
    struct heard *heard = &all[i];
    uint64_t expected = heard->bytes / RECORD + heard->gaps;
    if (record.sequence >= expected) pass_over(heard, expected, record.sequence);
    else if (!was_missing(heard, record.sequence)) heard->wrong += RECORD; /* doubled: not between two who are alone */
    note(heard, when, RECORD);
    if (!(record.flow & QUIET)) sendto(fd, &record, sizeof record, 0, &from.any, length_of(&from));
  }
}

static void take_connection(int listener, struct endpoint endpoint) {
  union address from;
  socklen_t length = sizeof from;
  int fd = accept4(listener, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd == -1) return;
  if (connection_count == OPEN) fail("connections");
  option(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, 1);
  connections[connection_count++] = (struct connection){.fd = fd, .heard = heard_of(endpoint, &from)};
}

/* The first record says whose it is. */
static void check(struct heard *heard, const char *bytes, size_t length) {
  char expected[CHUNK];
  if (heard->bytes == 0 && length >= RECORD) {
    struct record record;
    memcpy(&record, bytes, sizeof record);
    heard->uid = record.uid;
    heard->flow = record.flow;
  }
  stream_of(heard->uid, heard->flow, heard->bytes, expected, length);
  for (size_t i = 0; i < length; i++) heard->wrong += bytes[i] != expected[i];
}

/* 0: it is over */
static int take_bytes(struct connection *connection) {
  union address unused;
  int64_t when;
  if (connection->gone == connection->length) {
    ssize_t length = receive(connection->fd, connection->back, CHUNK, &unused, &when);
    struct heard *heard = &all[connection->heard];
    if (length == -1 && errno == EAGAIN) return 1;
    if (length <= 0) {
      heard->state = length == 0 ? "closed" : "reset";
      return 0;
    }
    check(heard, connection->back, length);
    note(heard, when, length);
    connection->length = heard->flow & QUIET ? 0 : length;
    connection->gone = 0;
  }
  if (connection->gone == connection->length) return 1;
  ssize_t gone = send(connection->fd, connection->back + connection->gone, connection->length - connection->gone,
                      MSG_NOSIGNAL);
  if (gone > 0) connection->gone += gone;
  return 1; /* an error is seen by the next who reads */
}

static void report(FILE *out) {
  fprintf(out, "{\"now\":\"%ld\",\"heard\":[", monotonic());
  for (size_t i = 0; i < all_count; i++) {
    char text[INET6_ADDRSTRLEN];
    const struct heard *heard = &all[i];
    const void *host = heard->from.any.sa_family == AF_INET6 ? (void *)&heard->from.in6.sin6_addr : &heard->from.in.sin_addr;
    fprintf(out, "%s\n{", i ? "," : "");
    print_endpoint(out, heard->endpoint);
    fprintf(out, ",\"source\":\"%s\",\"sourcePort\":%d,\"uid\":%u,\"flow\":%lu,\"first\":\"%ld\",\"last\":\"%ld\"",
            inet_ntop(heard->from.any.sa_family, host, text, sizeof text), ntohs(heard->from.in.sin_port), heard->uid,
            heard->flow, heard->first, heard->last);
    fprintf(out, ",\"bytes\":%lu,\"gaps\":%lu,\"wrong\":%lu,\"state\":\"%s\"}", heard->bytes, heard->gaps, heard->wrong,
            heard->state);
  }
  fprintf(out, "]}\n");
}

static int answered(int control) {
  char line[64];
  FILE *out = asked(control, line, sizeof line);
  if (!out) return 1;
  report(out);
  fclose(out);
  return strcmp(line, "stop") != 0;
}

int serve(const char *path, char **arguments) {
  static struct pollfd polled[1 + LISTENERS + OPEN];
  char *list = strdup(setting(arguments, "on", ""));
  int control = control_on(path);
  become_user(arguments);
  for (char *text; (text = strsep(&list, ","));) listen_on(text);
  dprintf(READY, "{\"pids\":[%d]}", getpid());
  close(READY);
  for (;;) {
    int count = 0, listening = listener_count, open = connection_count;
    polled[count++] = (struct pollfd){control, POLLIN, 0};
    for (int i = 0; i < listening; i++) polled[count++] = (struct pollfd){listeners[i].fd, POLLIN, 0};
    for (int i = 0; i < open; i++) {
      int waits = connections[i].gone < connections[i].length;
      polled[count++] = (struct pollfd){connections[i].fd, waits ? POLLOUT : POLLIN, 0};
    }
    must(poll(polled, count, -1), "poll");
    for (int i = open - 1; i >= 0; i--) {
      if (polled[1 + listening + i].revents == 0 || take_bytes(&connections[i])) continue;
      close(connections[i].fd);
      connections[i] = connections[--connection_count];
    }
    for (int i = 0; i < listening; i++) {
      if (polled[1 + i].revents == 0) continue;
      if (listeners[i].endpoint.type == SOCK_DGRAM) take_datagram(listeners[i].fd, listeners[i].endpoint);
      else take_connection(listeners[i].fd, listeners[i].endpoint);
    }
    if (polled[0].revents && !answered(control)) return 0;
  }
}
