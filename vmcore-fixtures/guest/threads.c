/* Processes of several threads: many, headless, and at odds about which files are open. */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

static void start(void *(*body)(void *)) {
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  if (pthread_create(&thread, &small, body, NULL)) fail("pthread_create");
}

static void *waits(void *unused) {
  for (;;) pause();
  return unused;
}

static void eight_threads(void) {
  for (int i = 0; i < 7; i++) start(waits);
  listening(0, "127.0.0.1", 1020, 4);
}

static void *outlives(void *unused) {
  rename_self("outlives-leader");
  usleep(200 * 1000); /* the sockets are opened when the leader is gone */
  listening(0, "127.0.0.1", 1021, 4);
  bound(SOCK_DGRAM, 0, "::1", 1021);
  stay();
  return unused;
}

static void leader_leaves(void) {
  listening(0, "127.0.0.1", 1022, 4);
  start(outlives);
  start(waits);
  syscall(SYS_exit, 0);
}

static void *opens_alone(void *unused) {
  must(unshare(CLONE_FILES), "unshare");
  rename_self("own-table-2");
  listening(0, "127.0.0.1", 1023, 4);
  bound(SOCK_DGRAM, 0, "127.0.0.1", 1023);
  established(OWN4, 1023, AWAY4, 1023);
  stay();
  return unused;
}

static void own_table(void) {
  listening(0, "127.0.0.1", 1024, 4); /* in both tables: copied by unshare */
  start(opens_alone);
  for (;;) pause();
}

void thread_actors(void) {
  actor("eight-threads", eight_threads);
  actor("leader-leaves", leader_leaves);
  actor("own-table", own_table);
}
