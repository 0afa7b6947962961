/* What the kernel answers when it is asked about a socket by system calls: the account beside /proc/net. */
#define _GNU_SOURCE
#include "guest.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static void name_of(FILE *out, const char *key, int fd, int (*ask)(int, struct sockaddr *, socklen_t *)) {
  union address address = {0};
  socklen_t length = sizeof address;
  if (ask(fd, &address.any, &length) == -1) {
    fprintf(out, " %s=errno:%d", key, errno);
    return;
  }
  fprintf(out, " %s=%d:", key, address.any.sa_family);
  const unsigned char *bytes = (const unsigned char *)&address;
  for (socklen_t i = 0; i < length && i < sizeof address; i++) fprintf(out, "%02x", bytes[i]);
}

static int value_of(FILE *out, const char *key, int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(fd, level, name, &value, &length) == 0) fprintf(out, " %s=%d", key, value);
  return value;
}

int socket_answers(FILE *out, int fd) {
  struct stat status;
  struct tcp_info info;
  socklen_t length = sizeof info;
  must(fstat(fd, &status), "fstat");
  fprintf(out, " inode=%lu uid=%u", (unsigned long)status.st_ino, status.st_uid);
  int domain = value_of(out, "domain", fd, SOL_SOCKET, SO_DOMAIN);
  int type = value_of(out, "type", fd, SOL_SOCKET, SO_TYPE);
  int protocol = value_of(out, "protocol", fd, SOL_SOCKET, SO_PROTOCOL);
  if (domain == AF_INET || domain == AF_INET6) {
    value_of(out, "interface", fd, SOL_SOCKET, SO_BINDTOIFINDEX);
    value_of(out, "v6only", fd, IPPROTO_IPV6, IPV6_V6ONLY);
    name_of(out, "local", fd, getsockname);
    name_of(out, "remote", fd, getpeername);
  }
  if (type == SOCK_RAW && domain == AF_INET) value_of(out, "header", fd, IPPROTO_IP, IP_HDRINCL);
  if (type == SOCK_RAW && domain == AF_INET6) value_of(out, "header", fd, IPPROTO_IPV6, IPV6_HDRINCL);
  if (protocol == IPPROTO_TCP && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
    fprintf(out, " state=%d", info.tcpi_state);
  int network = ioctl(fd, SIOCGSKNS);
  if (network != -1) {
    must(fstat(network, &status), "fstat");
    fprintf(out, " netns=%lu", (unsigned long)status.st_ino);
  }
  return network;
}
