/*
 * Writes down what the guest itself knows of its processes and sockets, as text for truth.ts, and then stands still.
 * Lines, except that a file's bytes follow its line as they are:
 *
 *   file PATH LENGTH\nBYTES\n                    a file of /proc; for exe, where the link leads
 *   link PATH TARGET                             a symbolic link of /proc
 *   socket PID FD key=value…                     the kernel's answers about a socket that this descriptor holds
 *   unreachable PID FD INODE ERRNO               a descriptor that pidfd_getfd does not give out
 *   unheld key=value…                            what the workload declared of a socket that nobody holds: unheld.c
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
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLOTS 65536 /* more than twice of what is ever seen */
#define MOST_NETWORKS 1000

static FILE *out;
static unsigned long asked[SLOTS], mounts[SLOTS], networks[MOST_NETWORKS];
static int network_count, home_network;

/* Whether it is the first time that this number, which is not 0, is seen. */
static int first_time(unsigned long number, unsigned long *slots) {
  unsigned long at = number * 0x9e3779b97f4a7c15ul >> 48;
  for (int step = 0; step < SLOTS / 2; step++, at = (at + 1) % SLOTS) {
    if (slots[at] == number) return 0;
    if (slots[at] != 0) continue;
    slots[at] = number;
    return 1;
  }
  fail("too many to record");
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
static int network_fds[MOST_NETWORKS];

static void keep_network(int fd) {
  struct stat status;
  must(fstat(fd, &status), "fstat of a network namespace");
  for (int i = 0; i < network_count; i++)
    if (networks[i] == status.st_ino) return (void)close(fd);
  if (network_count == MOST_NETWORKS) fail("too many networks to record");
  networks[network_count] = status.st_ino;
  network_fds[network_count++] = fd;
}

static void keep_network_at(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd != -1) keep_network(fd);
}

/* Networks that are mounted somewhere, as `ip netns` does it: they need no process to live. */
static void mounted_networks(int pid) {
  struct stat status;
  char path[600], root[64], place[256], line[4096];
  snprintf(path, sizeof path, "/proc/%d/ns/mnt", pid);
  if (stat(path, &status) == -1 || !first_time(status.st_ino, mounts)) return;
  snprintf(path, sizeof path, "/proc/%d/mountinfo", pid);
  FILE *list = fopen(path, "re");
  while (list && fgets(line, sizeof line, list)) {
    if (sscanf(line, "%*s %*s %*s %63s %255s", root, place) != 2 || strncmp(root, "net:", 4) != 0) continue;
    snprintf(path, sizeof path, "/proc/%d/root%s", pid, place);
    keep_network_at(path);
  }
  if (list) fclose(list);
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

static void held_socket(int pidfd, int pid, int fd, unsigned long inode) {
  int copy = pidfd == -1 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
  if (copy == -1) {
    fprintf(out, "unreachable %d %d %lu %d\n", pid, fd, inode, errno);
    return;
  }
  struct stat status;
  must(fstat(copy, &status), "fstat");
  /* A thread with a table of its own may mean another file by this number than the process does. */
  if (status.st_ino == inode && first_time(inode, asked)) {
    fprintf(out, "socket %d %d", pid, fd);
    int network_fd = socket_answers(out, copy);
    if (network_fd != -1) keep_network(network_fd);
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
    if (link_target(path, target, sizeof target) == -1) continue;
    if (strncmp(target, "net:[", 5) == 0) keep_network_at(path);
    if (sscanf(target, "socket:[%lu]", &inode) != 1) continue;
    fprintf(out, "link %s %s\n", path, target);
    held_socket(pidfd, pid, atoi(entry->d_name), inode);
  }
  closedir(directory);
}

static void executable_of(const char *directory) {
  char path[300], target[4096];
  snprintf(path, sizeof path, "%s/exe", directory);
  ssize_t length = link_target(path, target, sizeof target);
  if (length != -1) fprintf(out, "file %s %zd\n%s\n", path, length, target);
}

static void process(int pid) {
  static const char *files[] = {"stat", "status", "comm", "loginuid", "sessionid", "cgroup", "cmdline"};
  char path[300];
  struct dirent *entry;
  snprintf(path, sizeof path, "/proc/%d", pid);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) file_of(path, files[i]);
  executable_of(path);
  link_of(path, "ns/pid");
  mounted_networks(pid);
  snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
  keep_network_at(path);

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

/* Lines that the workload has written as they are to stand here. */
static void declared(void) {
  char line[4096];
  FILE *lines = fopen(UNHELD, "re");
  while (lines && fgets(line, sizeof line, lines)) fputs(line, out);
  if (lines) fclose(lines);
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
  struct rlimit limit = {2 * MOST_NETWORKS, 2 * MOST_NETWORKS};
  must(setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
  setvbuf(out, NULL, _IOFBF, 65536);
  home_network = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "ns/net");
  file("/proc/version");
  file("/proc/sys/kernel/osrelease");
  file("/proc/sys/kernel/random/boot_id");
  file("/proc/cmdline");
  file("/proc/modules");
  declared();
  each_process(process);
  all_networks();
  each_process(last);
  fprintf(out, "end\n");
  if (fflush(out) || ferror(out)) fail("the truth could not be written");
  for (;;) pause();
}
