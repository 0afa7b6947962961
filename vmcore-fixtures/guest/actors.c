/* An actor is a process that takes up its pose, says so, and then stands still until the guest is frozen. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int signal_pipe[2] = {-1, -1};

void rename_self(const char *name) { must(prctl(PR_SET_NAME, name), "PR_SET_NAME"); }

void ready(void) {
  if (signal_pipe[1] != -1) must(write(signal_pipe[1], "", 1), "ready");
  signal_pipe[1] = -1;
}

void stay(void) {
  ready();
  for (;;) pause();
}

/* Returns when the actor stands. `clone_flags` as for clone(2), without a new stack: the child goes on with a copy. */
pid_t actor_flags(const char *name, void (*body)(void), unsigned long clone_flags) {
  int pipes[2], saved[2] = {signal_pipe[0], signal_pipe[1]};
  char byte;
  must(pipe2(pipes, 0), "pipe");
  signal_pipe[0] = pipes[0];
  signal_pipe[1] = pipes[1];
  pid_t pid = must(syscall(SYS_clone, clone_flags | SIGCHLD, 0, 0, 0, 0), "clone");
  if (pid == 0) {
    if (!(clone_flags & CLONE_FILES)) close(pipes[0]);
    rename_self(name);
    body();
    stay();
  }
  /* With a shared table, closing our end would close the child's too: its byte has to come first. */
  if (!(clone_flags & CLONE_FILES)) close(pipes[1]);
  if (read(pipes[0], &byte, 1) != 1) fail(name);
  close(pipes[0]);
  if (clone_flags & CLONE_FILES) close(pipes[1]);
  signal_pipe[0] = saved[0];
  signal_pipe[1] = saved[1];
  return pid;
}

pid_t actor(const char *name, void (*body)(void)) { return actor_flags(name, body, 0); }
