/*
 * A user who holds connections and opens new ones, and what became of each.
 *
 *   uid=, comm=         whose it is, and its name
 *   to4=, to6=          whom it talks to
 *   hold=tcp4:22,…      flows that it opens at the start and keeps; a second port is the local one: tcp4:22:40000
 *   open=tcp4:80,…      flows of which it opens one every `renew` ms, and closes it when it has sent RECORDS
 *   every=              ms between two records of a flow
 *   patience=           ms after which an opened flow that is not done has failed; a held one never does
 *   pid=                the process id that it takes, for which it waits
 *   talker=             a number that no other talker of the lab has: its flows' numbers come from it
 *   quiet=1             wants nothing back: only so does what an ended process had queued arrive, which an answer would reset
 *   lineage=1           a parent and a grandparent of the same user stay behind, without a socket
 *
 * It is asked to `report`; to `stop`, which lets everything arrive first, as long as `drain=` ms; to `exit` as it is; to `reset`
 * everything and exit; to `queue` as much on each held connection as its buffer takes, and exit; to `orphan` itself: its parent ends.
 */
#define _GNU_SOURCE
#include "lab.h"

#include <errno.h>
#include <linux/sched.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FLOWS = 256, SPECS = 32, RECORDS = 8, AT_ONCE = 8 };

/* What was asked for, and of opened flows how many of them went how far. */
struct spec {
  struct endpoint endpoint;
  int held;
  unsigned opened, done, failed;
  int64_t next;
};

struct flow {
  struct spec *spec;
  int fd; /* -1: it is over */
  int local_port, connected, shut;
  int error;  /* what ended it */
  int refused; /* how often a datagram was said to be unwanted */
  uint64_t number, sent, echoed, wrong;
  int64_t since;
};

static struct spec specs[SPECS];
static int spec_count;
static struct flow flows[FLOWS];
static int flow_count;
static uint64_t last_number, quiet;
static uid_t own;
static char **given;
static int64_t every, renew, patience;
static int stopping;
static pid_t pids[3]; /* the eldest first */

static int is_stream(const struct flow *flow) { return flow->spec->endpoint.type == SOCK_STREAM; }

static int all_is_back(const struct flow *flow) { return quiet || flow->sent == flow->echoed; }

static void end_flow(struct flow *flow, int error) {
  if (flow->fd != -1) close(flow->fd);
  flow->fd = -1;
  flow->error = error;
  if (flow->spec->held) return;
  if (error == 0 && all_is_back(flow) && flow->wrong == 0) flow->spec->done++;
  else flow->spec->failed++;
}

static void begin(struct spec *spec) {
  struct flow *flow = NULL;
  union address own_address, address;
  socklen_t length = sizeof own_address;
  const char *host = setting(given, spec->endpoint.family == AF_INET6 ? "to6" : "to4", "");
  for (int i = 0; i < flow_count && !flow; i++) /* an opened flow that is over has been counted */
    if (flows[i].fd == -1 && !flows[i].spec->held) flow = &flows[i];
  if (!flow && flow_count == FLOWS) fail("flows");
  if (!flow) flow = &flows[flow_count++];
  *flow = (struct flow){.spec = spec, .number = ++last_number, .since = monotonic()};
  flow->fd = opened(spec->endpoint.family, spec->endpoint.type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  spec->opened++;
  if (is_stream(flow)) option(flow->fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (spec->endpoint.local_port) {
    own_address = at(spec->endpoint.family == AF_INET6 ? "::" : "0.0.0.0", spec->endpoint.local_port);
    option(flow->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    must(bind(flow->fd, &own_address.any, length_of(&own_address)), "the local port");
  }
  address = at(host, spec->endpoint.port);
  if (connect(flow->fd, &address.any, length_of(&address)) == -1 && errno != EINPROGRESS) return end_flow(flow, errno);
  flow->connected = !is_stream(flow);
  must(getsockname(flow->fd, &own_address.any, &length), "getsockname");
  flow->local_port = ntohs(own_address.in.sin_port);
}

/* What is left of the record that is under way, or one more. What the buffer has no place for comes with a later turn. */
static void send_record(struct flow *flow) {
  char bytes[RECORD];
  size_t length = RECORD - flow->sent % RECORD;
  stream_of(own, flow->number, flow->sent, bytes, length);
  ssize_t sent = send(flow->fd, bytes, length, MSG_NOSIGNAL);
  if (sent > 0) flow->sent += sent;
  else if (is_stream(flow) && errno != EAGAIN) end_flow(flow, errno);
  else if (errno == ECONNREFUSED) flow->refused++;
}

static void no_more(struct flow *flow) {
  if (flow->shut) return;
  flow->shut = 1;
  if (is_stream(flow)) shutdown(flow->fd, SHUT_WR);
}

/* One step of a flow's time: a record, or that it is enough. */
static void turn(struct flow *flow, int64_t now) {
  if (flow->fd == -1) return;
  int enough = stopping || (!flow->spec->held && flow->sent >= RECORDS * RECORD);
  if (!flow->spec->held && now - flow->since > patience) return end_flow(flow, ETIMEDOUT);
  if (flow->shut && !is_stream(flow) && all_is_back(flow)) return end_flow(flow, 0);
  if (!flow->connected || flow->shut) return;
  if (!enough || flow->sent % RECORD) send_record(flow);
  else no_more(flow);
}

static void receive(struct flow *flow) {
  char bytes[4096], expected[4096];
  ssize_t length;
  if (!flow->connected) {
    int error = 0;
    socklen_t size = sizeof error;
    must(getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size), "SO_ERROR");
    if (error) return end_flow(flow, error);
    flow->connected = 1;
    return;
  }
  while ((length = recv(flow->fd, bytes, sizeof bytes, 0)) > 0) {
    struct record record;
    memcpy(&record, bytes, sizeof record);
    if (is_stream(flow)) {
      stream_of(own, flow->number, flow->echoed, expected, length);
      if (memcmp(bytes, expected, length) != 0) flow->wrong++;
    } else if (length != RECORD || !is_record(&record) || record.flow != flow->number) {
      flow->wrong++;
      continue;
    }
    flow->echoed += length;
  }
  if (length == 0 && is_stream(flow)) return end_flow(flow, flow->shut && all_is_back(flow) ? 0 : ECONNABORTED);
  if (length == -1 && errno == ECONNREFUSED && !is_stream(flow)) flow->refused++;
  else if (length == -1 && errno != EAGAIN) return end_flow(flow, errno);
}

static int under_way(void) {
  int count = 0;
  for (int i = 0; i < flow_count; i++) count += flows[i].fd != -1;
  return count;
}

static void report(FILE *out) {
  const char *separator = "";
  fprintf(out, "{\"uid\":%u,\"talker\":%ld,\"quiet\":%s,\"pids\":[%d,%d,%d],\"held\":[", own,
          number(given, "talker", 0), quiet ? "true" : "false", pids[0], pids[1], pids[2]);
  for (int i = 0; i < flow_count; i++) {
    const struct flow *flow = &flows[i];
    if (!flow->spec->held) continue;
    fprintf(out, "%s\n{", separator);
    print_endpoint(out, flow->spec->endpoint);
    fprintf(out, ",\"localPort\":%d,\"flow\":%lu,\"sent\":%lu,\"echoed\":%lu,\"wrong\":%lu,\"refused\":%d,\"open\":%s",
            flow->local_port, flow->number, flow->sent, flow->echoed, flow->wrong, flow->refused,
            flow->fd == -1 ? "false" : "true");
    fprintf(out, ",\"error\":\"%s\"}", flow->error ? strerrorname_np(flow->error) : "");
    separator = ",";
  }
  separator = "";
  fprintf(out, "],\"opened\":[");
  for (int i = 0; i < spec_count; i++) {
    const struct spec *spec = &specs[i];
    if (spec->held) continue;
    fprintf(out, "%s\n{", separator);
    print_endpoint(out, spec->endpoint);
    fprintf(out, ",\"opened\":%u,\"done\":%u,\"failed\":%u}", spec->opened, spec->done, spec->failed);
    separator = ",";
  }
  fprintf(out, "]}\n");
}

static void leave(void) {
  for (int i = 0; i < 2; i++)
    if (pids[i]) kill(pids[i], SIGKILL);
  _exit(0);
}

static void reset_all(void) {
  struct linger at_once = {1, 0};
  for (int i = 0; i < flow_count; i++)
    if (flows[i].fd != -1) setsockopt(flows[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void queue_all(void) {
  for (int i = 0; i < flow_count; i++) {
    struct flow *flow = &flows[i];
    uint64_t before = 0;
    if (!flow->spec->held || !is_stream(flow)) continue;
    while (flow->fd != -1 && flow->sent != before) {
      before = flow->sent;
      send_record(flow);
    }
  }
}

/* Who asks gets the report as it is then. Who asks to stop waits for it. */
static FILE *answer(int control) {
  char line[64];
  FILE *out = asked(control, line, sizeof line);
  if (!out) return NULL;
  if (strcmp(line, "stop") == 0) {
    stopping = 1;
    return out;
  }
  if (strcmp(line, "orphan") == 0 && pids[1]) kill(pids[1], SIGKILL);
  if (strcmp(line, "queue") == 0) queue_all();
  if (strcmp(line, "reset") == 0) reset_all();
  report(out);
  fclose(out);
  if (strcmp(line, "report") != 0 && strcmp(line, "orphan") != 0) leave();
  return NULL;
}

static void add_specs(const char *name, int held) {
  char *list = strdup(setting(given, name, ""));
  for (char *text; (text = strsep(&list, ","));) {
    if (*text == 0) continue;
    if (spec_count == SPECS) fail("specs");
    specs[spec_count++] = (struct spec){.endpoint = endpoint_of(text), .held = held};
  }
}

static void open_what_is_due(int64_t now) {
  for (struct spec *spec = specs; spec < specs + spec_count; spec++) {
    if (spec->held || stopping || now < spec->next || spec->opened - spec->done - spec->failed >= AT_ONCE) continue;
    spec->next = now + renew;
    begin(spec);
  }
}

/* The one who goes on is the last; the others stay, and have nothing. */
static void take_place(void) {
  pid_t wanted = number(given, "pid", 0);
  if (wanted) {
    struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)&wanted, .set_tid_size = 1};
    long pid;
    while ((pid = syscall(SYS_clone3, &arguments, sizeof arguments)) == -1 && errno == EEXIST) usleep(1000);
    if (must(pid, "the process id") != 0) _exit(0);
  }
  become_user(given);
  if (number(given, "lineage", 0)) {
    for (int i = 0; i < 2; i++) {
      pids[i] = getpid();
      if (must(fork(), "fork") == 0) continue;
      close(READY);
      for (;;) pause();
    }
  }
  pids[2] = getpid();
}

int talk(const char *path, char **arguments) {
  FILE *who_stops = NULL;
  int64_t deadline = 0, next = 0;
  given = arguments;
  own = number(arguments, "uid", 0);
  every = number(arguments, "every", 20) * 1000000;
  renew = number(arguments, "renew", 500) * 1000000;
  patience = number(arguments, "patience", 20000) * 1000000;
  quiet = number(arguments, "quiet", 0) ? QUIET : 0;
  last_number = (uint64_t)number(arguments, "talker", 0) << 24 | quiet;
  int control = control_on(path);
  take_place();
  add_specs("hold", 1);
  add_specs("open", 0);
  for (int i = 0; i < spec_count; i++)
    if (specs[i].held) begin(&specs[i]);
  FILE *ready = fdopen(READY, "we");
  report(ready);
  fclose(ready);
  for (;;) {
    struct pollfd polled[1 + FLOWS];
    int64_t now = monotonic();
    if (now >= next) {
      next = now + every;
      open_what_is_due(now);
      for (int i = 0; i < flow_count; i++) turn(&flows[i], now);
    }
    if (who_stops && (under_way() == 0 || now >= deadline)) {
      report(who_stops);
      fclose(who_stops);
      leave();
    }
    polled[0] = (struct pollfd){who_stops ? -1 : control, POLLIN, 0};
    for (int i = 0; i < flow_count; i++)
      polled[1 + i] = (struct pollfd){flows[i].fd, flows[i].connected ? POLLIN : POLLOUT, 0};
    int count = flow_count;
    must(poll(polled, 1 + count, (next - now) / 1000000 + 1), "poll");
    for (int i = 0; i < count; i++)
      if (polled[1 + i].revents && flows[i].fd == polled[1 + i].fd) receive(&flows[i]);
    if (polled[0].revents && (who_stops = answer(control))) deadline = monotonic() + number(given, "drain", 10000) * 1000000;
  }
}
