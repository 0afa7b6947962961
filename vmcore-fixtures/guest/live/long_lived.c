/*
 * Processes whose sockets stay, among others that come and go: in every list that the kernel keeps there are some
 * between those. A user has three: one stands still, one does with other descriptors what the churn does, one has all in
 * the table of a thread. A line of the report is a socket:
 *
 *   PID FD INODE UID PROTOCOL FAMILY STATE LOCAL-PORT REMOTE-PORT
 */
#define _GNU_SOURCE
#include "live.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT = 3, SOCKETS = 6 };

static uid_t own;

static void report(FILE *out, int fd, const char *protocol, const char *state) {
  struct stat status;
  union address local = {0}, remote = {0};
  socklen_t length = sizeof local;
  must(fstat(fd, &status), "fstat");
  must(getsockname(fd, &local.any, &length), "getsockname");
  length = sizeof remote;
  int connected_to = getpeername(fd, &remote.any, &length) == 0 ? ntohs(remote.in.sin_port) : 0;
  fprintf(out, "%d %d %lu %u %s %d %s %d %d\n", getpid(), fd, (unsigned long)status.st_ino, own, protocol,
          local.any.sa_family == AF_INET6 ? 6 : 4, state, ntohs(local.in.sin_port), connected_to);
}

static int bound_and_connected(int type, const char *host, int port, int remote_port) {
  int fd = bound(type, 0, host, port);
  union address remote = at(host, remote_port);
  must(connect(fd, &remote.any, length_of(&remote)), "connect");
  return fd;
}

/* Six sockets on four ports, the first of which is `port`, on descriptors that do not change. */
static void take_up(int port) {
  int listener = listening(0, "127.0.0.1", port, 4);
  int client = bound_and_connected(SOCK_STREAM, "127.0.0.1", port + 1, port);
  int fds[SOCKETS] = {listener,
                      client,
                      accepted(listener),
                      listening(0, "::1", port + 2, 4),
                      bound(SOCK_DGRAM, 0, "0.0.0.0", port + 2),
                      bound_and_connected(SOCK_DGRAM, "127.0.0.1", port + 3, port + 2)};
  static const char *states[SOCKETS] = {"LISTEN", "ESTABLISHED", "ESTABLISHED", "LISTEN", "UNCONN", "ESTABLISHED"};
  FILE *out = fdopen(dup(REPORT), "we");
  if (!out) fail("the report");
  for (int i = 0; i < SOCKETS; i++) report(out, fds[i], i < 4 ? "tcp" : "udp", states[i]);
  fclose(out);
  close(REPORT);
}

/* The table grows, and so is exchanged, under what is held; children inherit it, and are gone. */
static void busy(void) {
  int file = must(open("/dev/null", O_RDONLY), "/dev/null");
  lowest_fd = 16;
  while (must(dup(file), "dup") < lowest_fd) {
  }
  for (;;) {
    for (int count = 1 + next_random() % 200; count > 0; count--) dup(file);
    if (chance(4)) dup2(file, 300 + next_random() % 3000);
    if (chance(4)) open_sockets(own);
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    close_all();
    if (pid > 0) waitpid(pid, NULL, 0);
    usleep(1000);
  }
}

static sem_t taken_up;

static void *in_own_table(void *port) {
  must(unshare(CLONE_FILES), "unshare");
  take_up((int)(long)port);
  sem_post(&taken_up);
  pause();
  return NULL;
}

static void __attribute__((noreturn)) threaded(int port) {
  pthread_t thread;
  must(sem_init(&taken_up, 0, 0), "sem_init");
  if (pthread_create(&thread, NULL, in_own_table, (void *)(long)port) != 0) fail("pthread_create");
  sem_wait(&taken_up);
  close(REPORT);
  for (;;) {
    open_sockets(own);
    close_all();
    usleep(1000);
  }
}

void long_lived(uid_t uid) {
  struct rlimit limit = {4096, 4096};
  int port = first_port(uid);
  own = uid;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (must(fork(), "fork") == 0) {
    must(prctl(PR_SET_NAME, "long-still"), "PR_SET_NAME");
    take_up(port);
    for (;;) pause();
  }
  if (must(fork(), "fork") == 0) {
    must(prctl(PR_SET_NAME, "long-busy"), "PR_SET_NAME");
    take_up(port + 4);
    busy();
  }
  must(prctl(PR_SET_NAME, "long-threaded"), "PR_SET_NAME");
  threaded(port + 8);
}
