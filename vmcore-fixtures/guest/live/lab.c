/*
 *   lab network V4 V6                the guest's addresses on its NIC
 *   lab talk CONTROL SETTING…        lab_talk.c
 *   lab serve CONTROL SETTING…       lab_serve.c
 *   lab container CONTROL SETTING…   lab_container.c
 *   lab web SETTING…                 lab_web.c
 *   lab ask CONTROL WORD…            asks one of those, by the path that it was given
 */
#define _GNU_SOURCE
#include "lab.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x1ab1ab1au

struct record record_of(uint32_t uid, uint64_t flow, uint64_t sequence) {
  return (struct record){MAGIC, uid, flow, sequence, flow * 0x9e3779b97f4a7c15u ^ sequence};
}

int is_record(const struct record *record) {
  struct record expected = record_of(record->uid, record->flow, record->sequence);
  return memcmp(record, &expected, sizeof expected) == 0;
}

void stream_of(uint32_t uid, uint64_t flow, uint64_t offset, char *bytes, size_t length) {
  while (length > 0) {
    struct record record = record_of(uid, flow, offset / RECORD);
    size_t from = offset % RECORD, count = RECORD - from < length ? RECORD - from : length;
    memcpy(bytes, (char *)&record + from, count);
    bytes += count, offset += count, length -= count;
  }
}

int64_t monotonic(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000l + time.tv_nsec;
}

const char *setting(char **arguments, const char *name, const char *otherwise) {
  size_t length = strlen(name);
  for (; *arguments; arguments++)
    if (strncmp(*arguments, name, length) == 0 && (*arguments)[length] == '=') return *arguments + length + 1;
  return otherwise;
}

long number(char **arguments, const char *name, long otherwise) {
  const char *text = setting(arguments, name, NULL);
  return text ? atol(text) : otherwise;
}

struct endpoint endpoint_of(const char *text) {
  char protocol[4] = "", family = 0;
  struct endpoint endpoint = {0};
  errno = EINVAL;
  if (sscanf(text, "%3[a-z]%c:%d:%d", protocol, &family, &endpoint.port, &endpoint.local_port) < 3) fail(text);
  endpoint.family = family == '6' ? AF_INET6 : AF_INET;
  endpoint.type = strcmp(protocol, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
  return endpoint;
}

void print_endpoint(FILE *out, struct endpoint endpoint) {
  fprintf(out, "\"protocol\":\"%s\",\"family\":%d,\"port\":%d", endpoint.type == SOCK_DGRAM ? "udp" : "tcp",
          endpoint.family == AF_INET6 ? 6 : 4, endpoint.port);
}

void become_user(char **arguments) {
  uid_t uid = number(arguments, "uid", 0);
  if (uid != 0) {
    must(setresgid(uid, uid, uid), "setresgid");
    must(setresuid(uid, uid, uid), "setresuid");
  }
  must(prctl(PR_SET_NAME, setting(arguments, "comm", "lab")), "PR_SET_NAME");
}

static struct sockaddr_un path_of(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  return address;
}

int control_on(const char *path) {
  struct sockaddr_un address = path_of(path);
  int fd = opened(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink(path);
  must(bind(fd, (struct sockaddr *)&address, sizeof address), path);
  must(listen(fd, 16), "listen");
  return fd;
}

FILE *asked(int control, char *line, size_t size) {
  int fd = accept4(control, NULL, NULL, SOCK_CLOEXEC);
  FILE *file = fd == -1 ? NULL : fdopen(fd, "r+e");
  if (!file) return NULL;
  if (!fgets(line, size, file)) *line = 0;
  line[strcspn(line, "\n")] = 0;
  return file;
}

static int ask(const char *path, char **words) {
  struct sockaddr_un address = path_of(path);
  int fd = opened(AF_UNIX, SOCK_STREAM, 0);
  char bytes[4096];
  ssize_t length;
  must(connect(fd, (struct sockaddr *)&address, sizeof address), path);
  for (; *words; words++) dprintf(fd, "%s%s", *words, words[1] ? " " : "\n");
  while ((length = must(read(fd, bytes, sizeof bytes), "read")) > 0) must(write(READY, bytes, length), "write");
  return 0;
}

static int network(const char *host4, const char *host6) {
  /* One that was just plugged in takes a while to be found. */
  for (int tries = 0; access("/proc/sys/net/ipv6/conf/eth0", F_OK) != 0 && tries < 300; tries++) usleep(100000);
  write_text("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0"); /* the address is of use at once */
  bring_up("eth0");
  address_on("eth0", host4, 24);
  address_on("eth0", host6, 64);
  return 0;
}

int main(int count, char **arguments) {
  const char *what = count > 2 ? arguments[1] : "";
  if (strcmp(what, "network") == 0 && count == 4) return network(arguments[2], arguments[3]);
  if (strcmp(what, "ask") == 0) return ask(arguments[2], arguments + 3);
  if (strcmp(what, "talk") == 0) return talk(arguments[2], arguments + 3);
  if (strcmp(what, "serve") == 0) return serve(arguments[2], arguments + 3);
  if (strcmp(what, "container") == 0) return container(arguments[2], arguments + 3);
  if (strcmp(what, "web") == 0) return web(arguments + 2);
  errno = EINVAL;
  fail("lab network|talk|serve|container|web|ask");
}
