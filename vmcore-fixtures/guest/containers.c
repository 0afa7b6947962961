/* What container engines make of these kernels: groups, namespaces of every kind, roots of their own, named networks. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static void copy_program(const char *to) {
  char bytes[65536];
  ssize_t got;
  int from = must(open("/idle", O_RDONLY | O_CLOEXEC), "/idle");
  int into = must(open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755), to);
  while ((got = must(read(from, bytes, sizeof bytes), "/idle")) > 0) must(write(into, bytes, got), to);
  close(from);
  close(into);
}

/* Sockets stay open over execve. */
static void execute(const char *path, char *const arguments[]) {
  ready();
  execv(path, arguments);
  fail(path);
}

static void worker(void) {
  must(setresgid(33, 33, 33), "setresgid");
  must(setresuid(33, 33, 33), "setresuid");
  bound(SOCK_DGRAM, 0, "127.0.0.1", 8101);
  char *arguments[] = {"worker: process", "", "\xe7\xae\xa1\xe7\x90\x86", "--user=www data", NULL};
  execute("/bin/app", arguments);
}

static void server(void) {
  int listener = listening(0, "::", 8100, 4);
  connected(SOCK_STREAM, 0, "127.0.0.1", 8100);
  accepted(listener);
  actor("worker", worker);
  actor("worker", worker);
  char *arguments[] = {"/bin/app", "--listen", "[::]:8100", NULL};
  execute("/bin/app", arguments);
}

/* The container's first process. Its root is a file system that only it can see. */
static void first_process(void) {
  char name[] = "web-1";
  must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
  mkdir("/image", 0755);
  must(mount("tmpfs", "/image", "tmpfs", 0, NULL), "tmpfs");
  must(mkdir("/image/bin", 0755), "/image/bin");
  copy_program("/image/bin/app");
  must(chdir("/image"), "chdir");
  must(mount(".", "/", NULL, MS_MOVE, NULL), "MS_MOVE");
  must(chroot("."), "chroot");
  must(sethostname(name, sizeof name - 1), "sethostname");
  bring_up("lo");
  actor("server", server);
  listening(0, "127.0.0.1", 8102, 4);
}

static void docker(void) {
  into_group("/docker/" ID "000001");
  actor_flags("web-1", first_process,
              CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP);
}

static void with_systemd(void) {
  into_group("/system.slice/docker-" ID "000002.scope");
  listening(0, OWN4, 8110, 4);
}

static void in_kubernetes(void) {
  into_group("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod00000000_0000_4000_8000_000000000001.slice/"
             "cri-containerd-" ID "000003.scope");
  must(unshare(CLONE_NEWNET), "unshare");
  bring_up("lo");
  listening(0, "127.0.0.1", 8120, 4);
}

/* A program in a root of its own, without a namespace: its path is seen from outside. */
static void jailed(void) {
  char *arguments[] = {"jailed", "-v", NULL};
  mkdir("/jail", 0755);
  mkdir("/jail/bin", 0755);
  copy_program("/jail/bin/app");
  must(chroot("/jail"), "chroot");
  execute("/bin/app", arguments);
}

static void deleted(void) {
  char *arguments[] = {"upgraded", NULL};
  copy_program("/old-version");
  ready();
  if (must(fork(), "fork") == 0) {
    usleep(100 * 1000);
    must(unlink("/old-version"), "unlink");
    _exit(0);
  }
  execv("/old-version", arguments);
  fail("/old-version");
}

/* More than a page of arguments. */
static void long_arguments(void) {
  static char text[5000];
  char *arguments[] = {"long", text, "end", NULL};
  memset(text, 'x', sizeof text - 1);
  execute("/idle", arguments);
}

/* As `ip netns add` does it: a mount keeps the network, a socket in it is held from outside, another by nobody. */
static void named_network(void) {
  int pair[2], home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "ns/net");
  mkdir("/run", 0755);
  mkdir("/run/netns", 0755);
  close(must(open("/run/netns/blue", O_RDONLY | O_CREAT, 0444), "/run/netns/blue"));
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
  must(unshare(CLONE_NEWNET), "unshare");
  bring_up("lo");
  must(mount("/proc/self/ns/net", "/run/netns/blue", NULL, MS_BIND, NULL), "bind mount of a network");
  listening(0, "127.0.0.1", 8130, 4);
  int flying = listening(0, "::1", 8131, 4);
  unheld("in-flight", flying);
  send_away(pair[0], &flying, 1);
  must(setns(home, CLONE_NEWNET), "setns");
  close(home);
}

/* Two more networks without inhabitants: one that nothing but its name keeps, one that an open descriptor keeps. */
static void empty_networks(void) {
  int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "ns/net");
  close(must(open("/run/netns/empty", O_RDONLY | O_CREAT, 0444), "/run/netns/empty"));
  must(unshare(CLONE_NEWNET), "unshare");
  must(mount("/proc/self/ns/net", "/run/netns/empty", NULL, MS_BIND, NULL), "bind mount of a network");
  must(unshare(CLONE_NEWNET), "unshare");
  bring_up("lo");
  must(open("/proc/self/ns/net", O_RDONLY), "ns/net");
  int listener = listening(0, "127.0.0.1", 8140, 4);
  int client = connected(SOCK_STREAM, 0, "127.0.0.1", 8140);
  int connection = accepted(listener);
  close(client); /* what is left in this network: a mini-socket */
  close(connection);
  close(listener);
  must(setns(home, CLONE_NEWNET), "setns");
  close(home);
}

void container_actors(void) {
  actor("docker", docker);
  actor("with-systemd", with_systemd);
  actor("in-kubernetes", in_kubernetes);
  actor("jailed", jailed);
  actor("deleted", deleted);
  actor("long-arguments", long_arguments);
  actor("named-network", named_network);
  actor("empty-networks", empty_networks);
}
