/* A guest with much in it: 3,000 processes with 22,000 files, 13,000 of them sockets, and TCP in all its states. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int number;

/* Four sockets, every third has five; three other files: standard input, and two pipes that say who is ready. */
static void holder(void) {
  close(1);
  close(2);
  int listener = listening(0, "127.0.0.1", 2000 + number, 4);
  connected(SOCK_STREAM, 0, "127.0.0.1", 2000 + number);
  accepted(listener);
  bound(SOCK_DGRAM, 0, "::1", 2000 + number);
  if (number % 3 == 0) bound(SOCK_DGRAM, 0, "0.0.0.0", 20000 + number);
  must(setresuid(1000 + number % 50, 1000 + number % 50, 1000 + number % 50), "setresuid");
}

int main(void) {
  char name[32];
  declarations();
  for (; number < 3000; number++) {
    snprintf(name, sizeof name, "holder-%d", number);
    actor(name, holder);
  }
  tcp_actors();
  must(write(3, "", 1), "ready"); /* init waits for it */
  for (;;) pause();
}
