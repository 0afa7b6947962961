#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

union address at(const char *host, int port) {
  union address address = {0};
  int is6 = strchr(host, ':') != NULL;
  address.any.sa_family = is6 ? AF_INET6 : AF_INET;
  *(is6 ? &address.in6.sin6_port : &address.in.sin_port) = htons(port);
  if (inet_pton(address.any.sa_family, host, is6 ? (void *)&address.in6.sin6_addr : (void *)&address.in.sin_addr) != 1)
    fail(host);
  return address;
}

socklen_t length_of(const union address *address) {
  return address->any.sa_family == AF_INET6 ? sizeof address->in6 : sizeof address->in;
}

void option(int fd, int level, int name, int value) {
  must(setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

int opened(int family, int type, int protocol) { return must(socket(family, type, protocol), "socket"); }

int bound(int type, int protocol, const char *host, int port) {
  union address address = at(host, port);
  int fd = opened(address.any.sa_family, type, protocol);
  option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  must(bind(fd, &address.any, length_of(&address)), host);
  return fd;
}

/* Without waiting: a peer that never answers leaves the socket in SYN_SENT. */
int connected(int type, int protocol, const char *host, int port) {
  union address address = at(host, port);
  int fd = opened(address.any.sa_family, type | SOCK_NONBLOCK, protocol);
  if (connect(fd, &address.any, length_of(&address)) == -1 && errno != EINPROGRESS) fail(host);
  return fd;
}

int listening(int protocol, const char *host, int port, int backlog) {
  int fd = bound(SOCK_STREAM, protocol, host, port);
  must(listen(fd, backlog), "listen");
  return fd;
}

int accepted(int listener) { return must(accept(listener, NULL, NULL), "accept"); }
