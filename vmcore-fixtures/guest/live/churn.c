/*
 * Users who fork, open, bind, connect, pass on, close, execute and exit as fast as they can, each on ports of his own
 * (live.h), while a few processes of each hold what they have (long_lived.c). user.c says what holds at every instant.
 *
 *   churn                 the manager: until SIGTERM, after which nothing of all this is left
 *   churn UID ROUNDS      a user's process that executed itself
 */
#define _GNU_SOURCE
#include "live.h"

#include <fcntl.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPORT = 3, WORKERS = 2, SWITCHERS = 24, CHILDREN = USERS * WORKERS + SWITCHERS, ROUNDS = 20 };
enum { CROWD = 25, CROWD_UID = 900, CROWD_SOCKETS = 10, CROWD_FILES = 30 }; /* for each user */

static pid_t group;
static int gate = -1; /* a pipe that nobody writes to, and that is closed when all may begin */
static pid_t children[CHILDREN]; /* the users' workers in turn, then those who switch */

static void become(uid_t uid) {
  must(setresgid(uid, uid, uid), "setresgid");
  must(setresuid(uid, uid, uid), "setresuid");
}

/*
 * One user's, and then another's, all ids at once and in one thread. Between them it has no descriptor: when
 * close_range returns the slots are empty (they are cleared before a file is closed), so that no instant has the old
 * files beside the new ids. What children inherited stays theirs, with the ids that they were forked with.
 */
static void switches(void) {
  must(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), "PR_SET_SECUREBITS"); /* may change them though not root */
  for (;;) {
    uid_t uid = FIRST_UID + next_random() % USERS;
    close_all();
    become(uid);
    open_socket(uid);
    if (chance(16)) open_sockets(uid);
    if (chance(32)) child(uid);
  }
}

/* Root's child. Before it takes on a user's ids it has no socket, and of the manager's descriptors at most one: 3. */
static pid_t started(const char *name, int kept) {
  pid_t pid = must(fork(), "fork");
  if (pid != 0) return pid;
  if (kept != -1) must(dup2(kept, 3), "dup2");
  must(syscall(SYS_close_range, kept == -1 ? 3 : 4, ~0u, 0), "close_range");
  must(setpgid(0, group), "setpgid");
  must(setpriority(PRIO_PROCESS, 0, 0), "setpriority");
  must(prctl(PR_SET_NAME, name), "PR_SET_NAME");
  return 0;
}

/* All of the report, from those who hold something to whoever started us. */
static void pass_on_report(int from) {
  char bytes[4096];
  ssize_t length;
  while ((length = must(read(from, bytes, sizeof bytes), "read")) > 0)
    must(write(REPORT, bytes, length), "the report");
  close(from);
  close(REPORT);
}

static void start(int child_number) {
  uid_t uid = FIRST_UID + child_number / WORKERS;
  children[child_number] = started(uid < FIRST_UID + USERS ? "worker" : "switcher", gate);
  if (children[child_number] != 0) return;
  if (gate != -1) must(read(3, &(char){0}, 1), "the gate");
  close_all();
  if (uid >= FIRST_UID + USERS) switches();
  become(uid);
  worker(uid, ROUNDS);
}

static void start_long_lived(uid_t uid, int report) {
  if (started("long-lived", report) != 0) return;
  become(uid);
  long_lived(uid);
}

/*
 * Stands still and has much open, none of it on a port. A walk takes as long as a guest is large, and the longer it takes the more
 * moves under it: without a crowd hardly anything does, in a guest as slow as one without KVM.
 */
static void start_crowd(void) {
  for (int i = 0; i < CROWD; i++) {
    if (started("crowd", -1) != 0) continue;
    become(CROWD_UID);
    for (int socket = 0; socket < CROWD_SOCKETS; socket++) opened(AF_INET, SOCK_DGRAM, 0);
    for (int file = 0; file < CROWD_FILES; file++) must(open("/dev/null", O_RDONLY), "/dev/null");
    for (;;) pause();
  }
}

static void settings(void) {
  struct rlimit limit = {4096, 4096};
  must(setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
  write_text("/proc/sys/kernel/pid_max", "5000"); /* pids come again within a minute */
  write_text("/proc/sys/net/ipv4/tcp_max_tw_buckets", "500");
  write_text("/proc/sys/net/ipv4/tcp_fin_timeout", "2");
}

/* A group that lives as long as we do, to be killed at once: who forks while it is, does not get his child. */
static void make_group(void) {
  group = 0;
  pid_t leader = started("group", -1);
  while (leader == 0) pause();
  must(setpgid(leader, leader), "setpgid");
  group = leader;
}

static int asked_to_end(void) {
  sigset_t pending;
  must(sigpending(&pending), "sigpending");
  return sigismember(&pending, SIGTERM);
}

/* There may always be one more to reap: who ends comes from a hundred processes that do nothing but start others. */
static void keep_running(const sigset_t *signals) {
  for (;;) {
    pid_t pid;
    int number = sigwaitinfo(signals, NULL);
    if (number == SIGTERM) return;
    while (!asked_to_end() && (pid = waitpid(-1, NULL, WNOHANG)) > 0)
      for (int i = 0; i < CHILDREN; i++)
        if (children[i] == pid) start(i);
  }
}

int main(int count, char **arguments) {
  if (count == 3) worker(atoi(arguments[1]), atoi(arguments[2]));
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  must(sigprocmask(SIG_BLOCK, &signals, NULL), "sigprocmask");
  must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER"); /* init reaps nobody */
  must(setpriority(PRIO_PROCESS, 0, -20), "setpriority"); /* reaps and starts as fast as others end */
  settings();
  make_group();
  int report[2], opening[2];
  must(pipe2(report, O_CLOEXEC), "pipe");
  must(pipe2(opening, O_CLOEXEC), "pipe");
  gate = opening[0];
  for (int user = 0; user < USERS; user++) { /* in the task list they stand among each other */
    start(WORKERS * user);
    start_long_lived(FIRST_UID + user, report[1]);
    for (int i = 1; i < WORKERS; i++) start(WORKERS * user + i);
    start_crowd();
  }
  for (int i = USERS * WORKERS; i < CHILDREN; i++) start(i);
  close(report[1]);
  pass_on_report(report[0]);
  gate = -1;
  close(opening[0]);
  close(opening[1]);
  keep_running(&signals);
  kill(-group, SIGKILL);
  while (wait(NULL) > 0) {
  }
  return 0;
}
