/* What slows down, if anything does, when a guest is watched: a server's answers, a disk's writes, a CPU's loop. */
#define _GNU_SOURCE
#include "live.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static pid_t started(const char *name) {
  pid_t pid = must(fork(), "fork");
  if (pid == 0) must(prctl(PR_SET_NAME, name), "PR_SET_NAME");
  return pid;
}

/* Sends back what it gets, one client after the other. */
pid_t serve_echo(const char *host, int port) {
  pid_t pid = started("echo");
  if (pid != 0) return pid;
  int listener = listening(0, host, port, 8);
  for (;;) {
    char bytes[4096];
    ssize_t length;
    int client = accepted(listener);
    while ((length = read(client, bytes, sizeof bytes)) > 0 && write(client, bytes, length) == length) {
    }
    close(client);
  }
}

/* Past the page cache, over the whole device again and again. */
pid_t write_disk(const char *device) {
  enum { BLOCK = 64 * 1024 };
  int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd == -1) return -1;
  pid_t pid = started("writer");
  if (pid != 0) {
    close(fd);
    return pid;
  }
  off_t size = must(lseek(fd, 0, SEEK_END), "the disk's size"), at = 0;
  void *block = aligned_alloc(4096, BLOCK);
  for (unsigned char fill = 0;; fill++) {
    memset(block, fill, BLOCK);
    must(pwrite(fd, block, BLOCK, at), "pwrite");
    at = at + 2 * BLOCK <= size ? at + BLOCK : 0;
  }
}

static long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000l + time.tv_nsec;
}

/* How often a piece of work is done in that time of the guest's own clock, which stands still while it is stopped. */
unsigned long loop_for(long milliseconds) {
  unsigned long iterations = 0;
  for (long end = now() + milliseconds * 1000000; now() < end; iterations++)
    for (volatile int i = 0; i < 1000; i++) {
    }
  return iterations;
}
