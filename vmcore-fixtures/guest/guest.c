#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fail(const char *what) {
  fprintf(stderr, "fixture: pid %d: %s: %s\n", getpid(), what, strerror(errno));
  for (;;) pause();
}

long must(long result, const char *what) {
  if (result == -1) fail(what);
  return result;
}

int try_write_text(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd == -1) return -1;
  ssize_t written = write(fd, text, strlen(text));
  close(fd);
  return written == (ssize_t)strlen(text) ? 0 : -1;
}

void write_text(const char *path, const char *text) {
  if (try_write_text(path, text) == -1) fail(path);
}
