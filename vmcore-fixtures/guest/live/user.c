/*
 * A user's processes. What they promise is what the walks over them are judged by: at every instant, in the kernel's
 * own memory, a process any of whose ids is a user's holds no inet socket but on this user's ports, or on none. So:
 *
 * - Who takes on a user's ids is root, or was another user (churn.c), and holds no inet socket then.
 * - A socket is opened by a process that has the user's ids already, and bound to one of his ports before it is
 *   connected or listens: the kernel never chooses a port. Whom it connects to is his port too. What is accepted has
 *   its listener's. Its sk_uid is his from its creation on, an accepted one's and a request's are its listener's.
 * - A table of descriptors comes from a process of the same user (fork, exec, unshare), and so does what is passed
 *   through a UNIX socket: its ends are the user's from socketpair on, and never leave his processes.
 * - Nobody here changes his ids. A thread's are its process's, also when it outlives the others.
 */
#define _GNU_SOURCE
#include "live.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uid_t own;
int lowest_fd = 3;
static __thread unsigned long seed;

unsigned next_random(void) {
  if (seed == 0) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    seed = ((unsigned long)syscall(SYS_gettid) << 32 ^ (unsigned long)time.tv_nsec * 2654435761u) | 1;
  }
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed >> 16;
}

int chance(int one_in) { return next_random() % one_in == 0; }

void close_all(void) { syscall(SYS_close_range, lowest_fd, ~0u, 0); }

static int some_port(uid_t uid) {
  return first_port(uid) + LONG_LIVED_PORTS + next_random() % (PORTS - LONG_LIVED_PORTS);
}

static union address some_address(uid_t uid, int family) {
  return at(family == AF_INET ? "127.0.0.1" : "::1", some_port(uid));
}

/* Bound to one of the user's ports; -1 when that is taken. */
static int some_socket(uid_t uid, int family, int type) {
  int fd = socket(family, type | (chance(2) ? SOCK_CLOEXEC : 0), 0), on = 1;
  union address address = some_address(uid, family);
  if (fd == -1) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, &address.any, length_of(&address)) == 0) return fd;
  close(fd);
  return -1;
}

static int some_family(void) { return chance(3) ? AF_INET6 : AF_INET; }

/* A connection within the user's ports, both ends in this process; now and then one or both are left to the kernel. */
static void connection(uid_t uid) {
  int family = some_family(), client = -1, server = -1;
  int listener = some_socket(uid, family, SOCK_STREAM | SOCK_NONBLOCK);
  union address address;
  socklen_t length = sizeof address;
  struct linger reset = {1, 0};
  if (listener == -1) return;
  if (listen(listener, 4) == 0 && getsockname(listener, &address.any, &length) == 0)
    client = some_socket(uid, family, SOCK_STREAM | SOCK_NONBLOCK);
  if (client != -1) connect(client, &address.any, length);
  if (client != -1 && !chance(8)) server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  /* The other end need not be ours: another of the user's may have meant the one who had this port before. */
  if (server != -1 && chance(2)) send(server, "x", 1, MSG_NOSIGNAL);
  if (client != -1 && chance(2)) setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (chance(4)) return; /* all of them stay open for a while */
  close(listener);
  if (client != -1) close(client);
  if (server != -1 && chance(2)) close(server);
}

static void datagrams(uid_t uid) {
  int family = some_family(), fd = some_socket(uid, family, SOCK_DGRAM);
  union address peer = some_address(uid, family);
  if (fd == -1) return;
  if (chance(2)) connect(fd, &peer.any, length_of(&peer));
  if (chance(2)) sendto(fd, "x", 1, MSG_DONTWAIT, &peer.any, length_of(&peer));
  if (chance(4)) close(fd);
}

/* The table grows by steps, to 256, 512 and 1024 descriptors and beyond; a child's copy is as small as can be again. */
static void copies(void) {
  int fd = lowest_fd + next_random() % 8;
  if (dup(fd) == -1) return;
  if (chance(3)) dup2(fd, 64 + next_random() % 1900);
  if (chance(3)) close(lowest_fd + next_random() % 8);
}

void open_socket(uid_t uid) {
  int fd = some_socket(uid, some_family(), chance(2) ? SOCK_STREAM : SOCK_DGRAM);
  if (fd != -1 && chance(4)) dup(fd);
}

void open_sockets(uid_t uid) {
  for (int count = 1 + next_random() % 4; count > 0; count--) {
    if (chance(2)) datagrams(uid);
    else connection(uid);
    copies();
  }
}

/* The child draws numbers of its own. */
static pid_t forked(void) {
  pid_t pid = fork();
  if (pid == 0) seed = 0;
  return pid;
}

static void again(int rounds) {
  char uid_text[16], rounds_text[16];
  snprintf(uid_text, sizeof uid_text, "%u", own);
  snprintf(rounds_text, sizeof rounds_text, "%d", rounds);
  execl("/live/churn", "churn", uid_text, rounds_text, NULL);
  _exit(1);
}

/*
 * Inherits all that is open, as every child, but no copy of the memory, which makes most of what a fork costs: many of
 * these come and go in the time of one that is whole. The parent waits until it has gone.
 */
static void quick_child(uid_t uid) {
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    if (chance(2)) close_all();
    datagrams(uid);
    _exit(0);
  }
  if (pid > 0) waitpid(pid, NULL, 0);
}

/* Inherits all that is open. Ends by exit with it, executes the same program, or leaves a child that nobody awaits. */
void child(uid_t uid) {
  own = uid;
  pid_t pid = forked();
  if (pid == 0) {
    if (chance(2)) open_sockets(own);
    if (chance(2)) close(lowest_fd + next_random() % 8);
    if (chance(4)) again(2);
    if (chance(6) && forked() == 0) open_sockets(own);
    _exit(0);
  }
  if (chance(2)) close_all();
  if (pid > 0) waitpid(pid, NULL, 0);
}

static void send_through(int through, int fd) {
  char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  sendmsg(through, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void receive_through(int through) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  recvmsg(through, &message, MSG_DONTWAIT);
}

/* A socket changes hands within the user; what nobody takes out is in flight until the pair is closed. */
static void passes(void) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1) return;
  for (int count = next_random() % 3; count >= 0; count--) {
    int fd = some_socket(own, some_family(), chance(2) ? SOCK_STREAM : SOCK_DGRAM);
    if (fd == -1) continue;
    send_through(pair[0], fd);
    close(fd);
  }
  pid_t pid = forked();
  if (pid == 0) {
    receive_through(pair[1]);
    if (chance(2)) receive_through(pair[1]);
    _exit(0);
  }
  close(pair[0]);
  if (pid > 0) waitpid(pid, NULL, 0);
  close(pair[1]);
}

/* With a table of its own, in which other files have the same numbers; or it executes, and takes its leader's place. */
static void *thread_body(void *unused) {
  if (chance(2)) unshare(CLONE_FILES);
  if (chance(2)) close_all();
  open_sockets(own);
  if (chance(6)) again(2);
  close_all();
  return unused;
}

static void threads(void) {
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  if (pthread_create(&thread, &small, thread_body, NULL) != 0) return;
  open_sockets(own);
  if (chance(8)) _exit(0);
  pthread_join(thread, NULL);
}

void worker(uid_t uid, int rounds) {
  own = uid;
  while (rounds-- > 0) {
    open_sockets(uid);
    switch (next_random() % 8) {
      case 0:
      case 1: child(uid); break;
      case 2: passes(); break;
      case 3: threads(); break;
      case 4: again(rounds); break;
      default:
        for (int count = next_random() % 8; count > 0; count--) quick_child(uid);
    }
    if (chance(2)) close_all();
  }
  _exit(0);
}
