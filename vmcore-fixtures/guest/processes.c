/* Processes: who they are, what state they are in, what they call themselves, and who holds which socket with whom. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(uid_t uid) {
  must(setresgid(uid, uid, uid), "setresgid");
  must(setresuid(uid, uid, uid), "setresuid");
}

static void uids_differ(void) {
  must(setresgid(2001, 2002, 2003), "setresgid");
  must(setresuid(1001, 1002, 1003), "setresuid");
}

static void fsuid_differs(void) {
  setfsgid(1004);
  setfsuid(1004);
  listening(0, "0.0.0.0", 1004, 4);
}

static void setuid_program(void) {
  must(setresgid(1003, 1003, 1003), "setresgid");
  must(setresuid(1003, 0, 1003), "setresuid");
  connected(SOCK_DGRAM, 0, AWAY4, 1003);
}

/* The attacker of the project's story: an honest user's uid, an ssh connection to the world. */
static void ssh_client(void) {
  into_group("/user.slice/user-1003.slice/session-4.scope");
  write_text("/proc/self/loginuid", "1003");
  setsid();
  setfsuid(1003);
  established(OWN4, 40022, AWAY4, 22);
  established(OWN6, 40022, AWAY6, 22);
  become(1003);
}

static void opened_then_setuid(void) {
  write_text("/proc/self/loginuid", "1005");
  listening(0, "127.0.0.1", 1005, 4);
  bound(SOCK_DGRAM, 0, "0.0.0.0", 1005);
  become(1005);
}

static void changed_owner(void) {
  must(fchown(listening(0, "127.0.0.1", 1006, 4), 1006, 1006), "fchown");
  must(fchown(bound(SOCK_DGRAM, 0, "127.0.0.1", 1006), 1006, 1006), "fchown");
}

/* As sshd does it: root accepts, a child keeps the connection and turns into the user; the socket goes on saying root. */
static void ssh_session(void) {
  into_group("/user.slice/user-1007.slice/session-5.scope");
  write_text("/proc/self/loginuid", "1007");
  setsid();
  become(1007);
}

static void ssh_server(void) {
  into_group("/system.slice/ssh.service");
  int listener = listening(0, OWN4, 22, 8);
  int client = connected(SOCK_STREAM, 0, OWN4, 22);
  int connection = accepted(listener);
  actor("sshd-session", ssh_session);
  close(connection);
  close(client); /* the session's child got a copy: both ends live on there */
}

static void www_worker(void) { become(33); }

static void www_master(void) {
  listening(0, "0.0.0.0", 80, 8);
  int listener = listening(0, "::", 8080, 8);
  connected(SOCK_STREAM, 0, "::1", 8080);
  accepted(listener);
  actor("www-worker", www_worker);
  actor("www-worker", www_worker);
  actor("www-worker", www_worker);
}

static void duplicated(void) {
  int fd = listening(0, "127.0.0.1", 1010, 4);
  must(dup(fd), "dup");
  must(dup2(fd, 77), "dup2");
}

static int unix_pair[2];

static void receives(void) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  become(1008);
  must(recvmsg(unix_pair[1], &message, 0), "SCM_RIGHTS");
}

/* Three sockets go into the UNIX socket; the receiver takes the first, the others stay in flight, held by no table. */
static void passes(void) {
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair), "socketpair");
  int passed[] = {listening(0, "127.0.0.1", 1008, 4), listening(0, "127.0.0.1", 1009, 4),
                  established(OWN4, 1009, AWAY4, 1009).fd};
  for (int i = 0; i < 3; i++) {
    if (i > 0) unheld("in-flight", passed[i]);
    send_away(unix_pair[0], &passed[i], 1);
  }
  actor("pass-receiver", receives);
}

static void own_session(void) { setsid(); }
static void own_group(void) { must(setpgid(0, 0), "setpgid"); }

static void stops(void) {
  ready();
  kill(getpid(), SIGSTOP);
}

static void is_traced(void) {
  must(ptrace(PTRACE_TRACEME, 0, 0, 0), "PTRACE_TRACEME");
  bound(SOCK_DGRAM, 0, "127.0.0.1", 1011);
  ready();
  kill(getpid(), SIGSTOP);
}

static void traces(void) {
  int status;
  pid_t pid = actor("traced", is_traced);
  must(waitpid(pid, &status, WUNTRACED), "waitpid");
}

static void ends(void) {
  ready();
  _exit(3);
}

static void leaves_zombie(void) { actor("zombie", ends); }

/* The parent of a vfork waits uninterruptibly until the child executes something: it never does. */
static void vforks(void) {
  if (must(syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0), "vfork") == 0) {
    rename_self("vfork-child");
    stay();
  }
}

static void orphaned(void) { actor("orphan", own_group); }

static void spins(void) {
  setpriority(PRIO_PROCESS, 0, 19);
  ready();
  for (volatile unsigned long i = 0;; i++) {
  }
}

static void no_arguments(void) {
  char *none[] = {NULL};
  int pipe_end = dup(STDIN_FILENO); /* keeps the descriptor numbers of /idle from looking like everyone else's */
  (void)pipe_end;
  ready();
  execve("/idle", none, none);
  fail("/idle");
}

static void shares_table(void) {}

static void shared_table(void) {
  actor_flags("shares-table-b", shares_table, CLONE_FILES);
  listening(0, "127.0.0.1", 1012, 4); /* opened by one, held by both */
}

static void many_files(void) {
  struct rlimit limit = {4096, 4096};
  must(setrlimit(RLIMIT_NOFILE, &limit), "RLIMIT_NOFILE");
  int fd = listening(0, "127.0.0.1", 1013, 4);
  for (int i = 0; i < 1100; i++) must(open(i % 2 ? "/dev/null" : "/dev/zero", O_RDONLY), "open");
  bound(SOCK_DGRAM, 0, "127.0.0.1", 1013);
  must(dup2(fd, 3000), "dup2");
}

static void in_accept(void) {
  int listener = listening(0, "127.0.0.1", 1014, 4);
  ready();
  accepted(listener);
}

static void nothing(void) {}

void process_actors(void) {
  actor("uids-differ", uids_differ);
  actor("fsuid-differs", fsuid_differs);
  actor("setuid-program", setuid_program);
  actor("ssh", ssh_client);
  actor("setuid-after", opened_then_setuid);
  actor("fchowned", changed_owner);
  actor("sshd", ssh_server);
  actor("www-master", www_master);
  actor("duplicated", duplicated);
  actor("passes", passes);
  actor("own-session", own_session);
  actor("own-group", own_group);
  actor("stopped", stops);
  actor("tracer", traces);
  actor("zombie-parent", leaves_zombie);
  actor("vfork-parent", vforks);
  must(kill(actor("orphans-parent", orphaned), SIGKILL), "kill"); /* and is reaped by nobody: a zombie too */
  actor("empty-argv", no_arguments);
  actor("shares-table-a", shared_table);
  actor("many-files", many_files);
  actor("in-accept", in_accept);
  actor("fifteen-bytes-x", nothing);
  actor("\033[31mred\033[0m", nothing);
  actor("\xff\x1b[31m\xc3(", nothing);
  actor("a (b) c) R\n1", nothing);
  actor("", nothing);
  actor("\xe7\xae\xa1\xe7\x90\x86", nothing);
  actor("spinner", spins);
}
