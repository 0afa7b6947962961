/* Processes inside namespaces, and sockets whose namespace is not their holder's. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void sockets_inside(int port) {
  int listener = listening(0, "127.0.0.1", port, 4);
  connected(SOCK_STREAM, 0, "127.0.0.1", port);
  accepted(listener);
  listening(0, "::", port + 1, 4);
  bound(SOCK_DGRAM, 0, "127.0.0.1", port);
}

static void inner_of_two(void) { bound(SOCK_DGRAM, 0, "127.0.0.1", 2000); }

static void outer(void) { actor_flags("pidns-inner", inner_of_two, CLONE_NEWPID); }

static void in_network(void) {
  bring_up("lo");
  sockets_inside(2010);
}

/* What a container without privileges looks like: its root is 100000 outside. */
static int mapped[2];

static void in_user_namespace(void) {
  char byte;
  if (read(mapped[0], &byte, 1) != 1) fail("user namespace");
  must(setresgid(5, 5, 5), "setresgid");
  must(setresuid(0, 0, 0), "setresuid");
  bring_up("lo");
  sockets_inside(2020);
  must(setresuid(7, 7, 7), "setresuid");
  bound(SOCK_DGRAM, 0, "127.0.0.1", 2021);
}

/* The map has to be written from outside, while the child waits: hence fork here and not actor(). */
static void container(void) {
  char path[64];
  must(pipe(mapped), "pipe");
  pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    rename_self("container");
    must(unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID), "unshare");
    actor("container-init", in_user_namespace);
    stay();
  }
  usleep(300 * 1000);
  snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
  write_text(path, "0 100000 65536");
  snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
  write_text(path, "0 100000 65536");
  must(write(mapped[1], "", 1), "write");
  for (;;) pause();
}

/* Nobody lives in this network any more: its sockets keep it. */
static void network_left(void) {
  int home = must(open("/proc/self/ns/net", O_RDONLY), "ns/net");
  must(unshare(CLONE_NEWNET), "unshare");
  bring_up("lo");
  sockets_inside(2030);
  opened(AF_INET, SOCK_STREAM, 0);
  must(setns(home, CLONE_NEWNET), "setns");
  close(home);
  bound(SOCK_DGRAM, 0, "127.0.0.1", 2030);
}

void namespace_actors(void) {
  actor_flags("pidns-outer", outer, CLONE_NEWPID);
  actor_flags("netns-member", in_network, CLONE_NEWNET);
  actor("container-boss", container);
  actor("netns-left", network_left);
}
