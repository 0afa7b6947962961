/*
 * Keeps a guest at the host's disposal. init starts it in the recorder's place, when the workload stands still.
 * Commands come in over a virtio-serial port, one a line; each is answered with `ok LENGTH\n` and so many bytes, or
 * with `error WHY\n`. A domain of Xen has the recorder's port alone, and what that writes comes after the answer.
 *
 *   truth         the recorder writes the guest's truth to its own port; until then nothing of ours moves
 *   churn start   churn.c; answers with the long-lived sockets, a line each, when all of it runs
 *   churn stop    …and all that it started is gone
 *   write start   a process that writes to the disk as fast as it can
 *   write stop
 *   loop MS       iterations of a loop in that time of the guest's clock
 *   lab WORDS     lab.c, with these arguments; answers with what that says on descriptor 3
 */
#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT "/dev/vport0p2"
#define RECORDERS_PORT "/dev/vport0p1"
#define NETWORK_DEVICE "eth0"
#define NETWORK_HOST "10.0.3.15"
#define ECHO_PORT 7

static FILE *port; /* for what we say */
static pid_t recorder, churn, writer;

static void refuse(const char *why) { fprintf(port, "error %s\n", why); }

static void answer(const char *bytes, size_t length) {
  fprintf(port, "ok %zu\n", length);
  fwrite(bytes, 1, length, port);
}

static void end(pid_t *pid, int with) {
  pid_t ended = *pid;
  if (ended == 0) return;
  kill(ended, with);
  if (waitpid(ended, NULL, 0) == -1 && errno != ECHILD) fail("waitpid"); /* ECHILD: reap was first */
  *pid = 0;
}

/* All that it writes to descriptor 3 until it closes that, in a buffer that the next call takes again. */
static char *spoken;
static size_t spoken_length;

static pid_t spoken_by(const char *path, char *const *arguments) {
  int pipes[2];
  must(pipe2(pipes, O_CLOEXEC), "pipe");
  pid_t pid = must(fork(), "fork");
  if (pid == 0) {
    must(dup2(pipes[1], 3), "dup2");
    execv(path, arguments);
    fail(path);
  }
  close(pipes[1]);
  spoken_length = 0;
  for (ssize_t got = 1; got > 0; spoken_length += got) {
    spoken = realloc(spoken, spoken_length + 4096);
    got = must(read(pipes[0], spoken + spoken_length, 4096), "read");
  }
  close(pipes[0]);
  return pid;
}

static void on_truth(const char *unused) {
  (void)unused;
  if (churn || writer) return refuse("the guest does not stand still");
  end(&recorder, SIGKILL);
  answer("", 0);
  must(fflush(port), PORT);
  recorder = must(fork(), "fork");
  if (recorder == 0) {
    execl("/live/record", "record", NULL);
    fail("/live/record");
  }
}

static void on_churn(const char *what) {
  if (strcmp(what, "stop") == 0) {
    end(&churn, SIGTERM);
    return answer("", 0);
  }
  if (strcmp(what, "start") != 0) return refuse("churn start|stop");
  if (churn) return refuse("the churn runs");
  end(&recorder, SIGKILL);
  churn = spoken_by("/live/churn", (char *[]){"churn", NULL});
  answer(spoken, spoken_length);
}

static void on_write(const char *what) {
  if (strcmp(what, "stop") == 0) {
    end(&writer, SIGKILL);
    return answer("", 0);
  }
  if (strcmp(what, "start") != 0) return refuse("write start|stop");
  if (writer) return refuse("the writer runs");
  end(&recorder, SIGKILL);
  writer = write_disk("/dev/vda");
  if (writer > 0) return answer("", 0);
  writer = 0;
  refuse("there is no disk");
}

static void on_loop(const char *milliseconds) {
  char text[32];
  answer(text, snprintf(text, sizeof text, "%lu", loop_for(atol(milliseconds))));
}

/* Whoever it was that ended: the lab takes pids again, and a pid is free only when its process was waited for. */
static void reap(int signal_number) {
  int error = errno;
  pid_t pid;
  (void)signal_number;
  while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
    for (pid_t **ours = (pid_t *[]){&recorder, &churn, &writer, NULL}; *ours; ours++)
      if (**ours == pid) **ours = 0;
  errno = error;
}

static void on_lab(const char *words) {
  char text[1024], *rest = text, *arguments[64] = {"lab"};
  int count = 1;
  snprintf(text, sizeof text, "%s", words);
  while (count < 63 && (arguments[count] = strsep(&rest, " "))) count++;
  must(sigaction(SIGCHLD, &(struct sigaction){.sa_handler = reap, .sa_flags = SA_RESTART}, NULL), "sigaction");
  spoken_by("/live/lab", arguments);
  answer(spoken, spoken_length);
}

static const struct {
  const char *name;
  void (*run)(const char *argument);
} commands[] = {{"truth", on_truth}, {"churn", on_churn}, {"write", on_write}, {"loop", on_loop}, {"lab", on_lab}};

static void obey(char *line) {
  line[strcspn(line, "\n")] = 0;
  char *name = strsep(&line, " ");
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp(name, commands[i].name) == 0) return commands[i].run(line ? line : "");
  refuse("there is no such command");
}

static void network(void) {
  struct stat status;
  if (stat("/sys/class/net/" NETWORK_DEVICE, &status) == -1) return;
  bring_up(NETWORK_DEVICE);
  address_on(NETWORK_DEVICE, NETWORK_HOST, 24);
  serve_echo(NETWORK_HOST, ECHO_PORT);
}

int main(void) {
  char line[1024];
  must(prctl(PR_SET_NAME, "agent"), "PR_SET_NAME");
  must(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER"); /* init reaps nobody */
  network();
  const char *path = PORT;
  if (access(PORT, F_OK) == -1) { /* the console, where the kernel speaks too, of being late after a pause, say */
    path = RECORDERS_PORT;
    write_text("/proc/sys/kernel/printk", "1");
    write_text("/proc/sys/kernel/watchdog", "0");
  }
  int fd = must(open(path, O_RDWR | O_CLOEXEC), path);
  FILE *commands_in = fdopen(fd, "re");
  port = fdopen(fd, "we");
  if (!port || !commands_in) fail(PORT);
  fprintf(port, "ready\n");
  fflush(port);
  while (fgets(line, sizeof line, commands_in)) {
    obey(line);
    must(fflush(port), PORT);
  }
  fail("the host has gone");
}
