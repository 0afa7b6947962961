/*
 * Writes down what the guest itself knows of its processes and sockets, as text for truth.ts, and then stands still.
 * Lines, except that a file's bytes follow its line as they are:
 *
 *   file PATH LENGTH\nBYTES\n                    a file of /proc
 *   link PATH TARGET                             a symbolic link of /proc
 *   socket PID FD key=value…                     the kernel's answers about a socket that this descriptor holds
 *   unreachable PID FD INODE ERRNO               a descriptor that pidfd_getfd does not give out
 *   network INODE … end of network               /proc/net/… of one network namespace
 *   last PID COMM-IN-HEX                         once more at the end: what came or went meanwhile
 *   end
 */
#define _GNU_SOURCE
#include "guest.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 4096

static FILE *out;
static unsigned long asked[MOST], networks[MOST];
static int asked_count, network_count, home_network;

/* Whether it is the first time that this number is seen. */
static int first_time(unsigned long number, unsigned long *list, int *count) {
  for (int i = 0; i < *count; i++)
    if (list[i] == number) return 0;
  if (*count == MOST) fail("too many to record");
  list[(*count)++] = number;
  return 1;
}

static void file(const char *path) {
  static char *bytes;
  static size_t size;
  size_t length = 0;
  ssize_t got;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd == -1) return;
  do {
    if (length + 65536 > size) bytes = realloc(bytes, size += 262144);
    got = read(fd, bytes + length, 65536);
    if (got > 0) length += got;
  } while (got > 0);
  close(fd);
  if (got == -1) return; /* loginuid of a process that has just gone, say */
  fprintf(out, "file %s %zu\n", path, length);
  fwrite(bytes, 1, length, out);
  fputc('\n', out);
}

static void file_of(const char *directory, const char *name) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  file(path);
}

static ssize_t link_target(const char *path, char *target, size_t size) {
  ssize_t length = readlink(path, target, size - 1);
  if (length >= 0) target[length] = 0;
  return length;
}

static void link_of(const char *directory, const char *name) {
  char path[400], target[256];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  if (link_target(path, target, sizeof target) != -1) fprintf(out, "link %s %s\n", path, target);
}

/* The tables of the network namespace that we are in. */
static void network(unsigned long inode) {
  static const char *tables[] = {"tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6"};
  fprintf(out, "network %lu\n", inode);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) file_of("/proc/self/net", tables[i]);
  fprintf(out, "end of network\n");
}

/* `fd`, a descriptor of the namespace, is kept until all processes are recorded: the tables are read last. */
static int network_fds[MOST];

static void keep_network(int fd) {
  struct stat status;
  must(fstat(fd, &status), "fstat of a network namespace");
  if (first_time(status.st_ino, networks, &network_count))
    network_fds[network_count - 1] = fd;
  else
    close(fd);
}

static void all_networks(void) {
  for (int i = 0; i < network_count; i++) {
    must(setns(network_fds[i], CLONE_NEWNET), "setns");
    network(networks[i]);
    close(network_fds[i]);
  }
  must(setns(home_network, CLONE_NEWNET), "setns");
  close(home_network);
}

static void name_of(const char *key, int fd, int (*ask)(int, struct sockaddr *, socklen_t *)) {
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

static void value_of(const char *key, int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (getsockopt(fd, level, name, &value, &length) == 0) fprintf(out, " %s=%d", key, value);
}

static void socket_answers(int fd) {
  struct stat status;
  struct tcp_info info;
  socklen_t length = sizeof info;
  must(fstat(fd, &status), "fstat");
  fprintf(out, " inode=%lu uid=%u", (unsigned long)status.st_ino, status.st_uid);
  value_of("domain", fd, SOL_SOCKET, SO_DOMAIN);
  value_of("type", fd, SOL_SOCKET, SO_TYPE);
  value_of("protocol", fd, SOL_SOCKET, SO_PROTOCOL);
  value_of("interface", fd, SOL_SOCKET, SO_BINDTOIFINDEX);
  value_of("v6only", fd, IPPROTO_IPV6, IPV6_V6ONLY);
  name_of("local", fd, getsockname);
  name_of("remote", fd, getpeername);
  int protocol = 0;
  socklen_t size = sizeof protocol;
  getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
  if (protocol == IPPROTO_TCP && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
    fprintf(out, " state=%d", info.tcpi_state);
  int network_fd = ioctl(fd, SIOCGSKNS);
  if (network_fd != -1) {
    must(fstat(network_fd, &status), "fstat");
    fprintf(out, " netns=%lu", (unsigned long)status.st_ino);
    keep_network(network_fd);
  }
}

static void held_socket(int pidfd, int pid, int fd, unsigned long inode) {
  int copy = pidfd == -1 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
  if (copy == -1) {
    fprintf(out, "unreachable %d %d %lu %d\n", pid, fd, inode, errno);
    return;
  }
  struct stat status;
  must(fstat(copy, &status), "fstat");
  /* A thread with a table of its own may mean another file by this number than the process does. */
  if (status.st_ino == inode && first_time(inode, asked, &asked_count)) {
    fprintf(out, "socket %d %d", pid, fd);
    socket_answers(copy);
    fputc('\n', out);
  }
  close(copy);
}

static void descriptors(int pidfd, int pid, const char *thread) {
  char path[600], target[256];
  struct dirent *entry;
  snprintf(path, sizeof path, "/proc/%d/task/%s/fd", pid, thread);
  DIR *directory = opendir(path);
  if (!directory) return;
  while ((entry = readdir(directory))) {
    unsigned long inode;
    if (!isdigit(entry->d_name[0])) continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/fd/%s", pid, thread, entry->d_name);
    if (link_target(path, target, sizeof target) == -1 || sscanf(target, "socket:[%lu]", &inode) != 1) continue;
    fprintf(out, "link %s %s\n", path, target);
    held_socket(pidfd, pid, atoi(entry->d_name), inode);
  }
  closedir(directory);
}

static void process(int pid) {
  static const char *files[] = {"stat", "status", "comm", "loginuid", "sessionid"};
  char path[300];
  struct dirent *entry;
  snprintf(path, sizeof path, "/proc/%d", pid);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) file_of(path, files[i]);
  link_of(path, "ns/pid");
  snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
  int network_fd = open(path, O_RDONLY | O_CLOEXEC);
  if (network_fd != -1) keep_network(network_fd);

  int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  char path_of_threads[64];
  snprintf(path_of_threads, sizeof path_of_threads, "/proc/%d/task", pid);
  DIR *directory = opendir(path_of_threads);
  while (directory && (entry = readdir(directory))) {
    if (!isdigit(entry->d_name[0])) continue;
    descriptors(pidfd, pid, entry->d_name);
    snprintf(path, sizeof path, "/proc/%d/task/%s", pid, entry->d_name);
    link_of(path, "ns/net"); /* a main thread that has exited has none any more, the others do */
  }
  if (directory) closedir(directory);
  if (pidfd != -1) close(pidfd);
}

static void last(int pid) {
  char path[64], comm[256];
  snprintf(path, sizeof path, "/proc/%d/comm", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd == -1) return;
  ssize_t length = read(fd, comm, sizeof comm);
  close(fd);
  fprintf(out, "last %d ", pid);
  for (ssize_t i = 0; i < length - 1; i++) fprintf(out, "%02x", (unsigned char)comm[i]);
  fputc('\n', out);
}

static void each_process(void (*body)(int pid)) {
  struct dirent *entry;
  DIR *directory = opendir("/proc");
  if (!directory) fail("/proc");
  while ((entry = readdir(directory)))
    if (isdigit(entry->d_name[0])) body(atoi(entry->d_name));
  closedir(directory);
}

int main(void) {
  out = fopen("/dev/vport0p1", "we");
  if (!out) fail("/dev/vport0p1");
  home_network = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "ns/net");
  file("/proc/version");
  file("/proc/sys/kernel/osrelease");
  file("/proc/sys/kernel/random/boot_id");
  file("/proc/cmdline");
  file("/proc/modules");
  each_process(process);
  all_networks();
  each_process(last);
  fprintf(out, "end\n");
  if (fflush(out) || ferror(out)) fail("the truth could not be written");
  for (;;) pause();
}
